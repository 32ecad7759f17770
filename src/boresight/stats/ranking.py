"""Fit Bradley-Terry strengths of many systems to pairwise comparisons with ties.

Davidson's model (Davidson 1970, JASA 65:317), with log-strengths theta and a parameter nu >= 0 for ties:

    P(i beats j) ∝ exp(theta_i)     P(j beats i) ∝ exp(theta_j)     P(tie) ∝ nu · exp((theta_i + theta_j) / 2)

With nu = 0 it is the model of Bradley & Terry 1952. Games of one prompt may be correlated (two judging
orders, many pairs), so the covariance is a sandwich over prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as sps
from scipy.sparse.csgraph import connected_components

from boresight.core.errors import UserError
from boresight.stats.intervals import Array, Interval


@dataclass(frozen=True)
class Game:
    """A comparison of a with b on a prompt. `outcome` is 1 if a won, 0.5 for a tie, 0 if a lost.

    None is a failed judgment. Any other value, such as a share of several raters, counts as part win and part
    loss.
    """

    prompt: str
    a: str
    b: str
    outcome: float | None


@dataclass(frozen=True)
class Ranking:
    """Fitted strengths of systems; `missing` is the number of games without an outcome."""

    strength: dict[str, Interval]
    """Log-strength by system, from strongest to weakest, in nats, with mean zero over the systems; n is the
    number of prompts."""
    tie_rate: float
    """Probability of a tie between two equal systems: nu / (2 + nu)."""
    missing: int

    def win_rate(self, a: str, b: str) -> float:
        """Return the expected win rate of a over b, with ties counted one half."""
        nu = 2 * self.tie_rate / (1 - self.tie_rate)
        gap = self.strength[a].value - self.strength[b].value
        up, down = math.exp(gap / 2), math.exp(-gap / 2)
        return (up + nu / 2) / (up + down + nu)


def bradley_terry(games: Sequence[Game]) -> Ranking:
    """Compute maximum-likelihood strengths with 95 % intervals.

    Raises:
        UserError: no finite fit exists, since some systems never won or tied, or never lost or tied, against
            the others (Ford 1957), or since every game is a tie.
    """
    played = [g for g in games if g.outcome is not None]
    if not played:
        raise UserError(f"There is nothing to rank: all {len(games)} judgments are missing.")
    for game in played:
        if not 0 <= (game.outcome or 0.0) <= 1:
            raise ValueError(f"a game is won (1), tied (0.5), lost (0) or between, not {game.outcome}")
    names = sorted({name for g in played for name in (g.a, g.b)})
    table = _Table.of(played, names)
    if (table.outcome == 0.5).all():
        raise UserError("Every game is a tie, so there is no ranking.")
    _refuse_unconnected(table, names)
    parameters, scores, information = _fit(table)
    covariance = _sandwich(table, scores, information)
    order = np.argsort(-parameters[:-1], kind="stable")
    prompts = int(table.prompt.max()) + 1
    quantile = float(sps.t.ppf(0.975, max(1, prompts - 1)))
    strength = {}
    for i in order:
        reach = quantile * math.sqrt(max(0.0, covariance[i, i])) if prompts > 1 else math.inf
        value = float(parameters[i])
        strength[names[i]] = Interval(value, value - reach, value + reach, prompts)
    nu = math.exp(parameters[-1]) if table.has_ties else 0.0
    return Ranking(strength, nu / (2 + nu), len(games) - len(played))


@dataclass(frozen=True)
class _Table:
    """Games as arrays `(games,)`: index of system a, of system b and of the prompt, and the outcome."""

    a: np.ndarray
    b: np.ndarray
    prompt: np.ndarray
    outcome: Array
    systems: int

    @classmethod
    def of(cls, games: Sequence[Game], names: list[str]) -> _Table:
        index = {name: i for i, name in enumerate(names)}
        prompts = {p: i for i, p in enumerate(dict.fromkeys(g.prompt for g in games))}
        return cls(
            a=np.array([index[g.a] for g in games]),
            b=np.array([index[g.b] for g in games]),
            prompt=np.array([prompts[g.prompt] for g in games]),
            outcome=np.array([g.outcome for g in games], dtype=np.float64),
            systems=len(names),
        )

    @property
    def has_ties(self) -> bool:
        return bool((self.outcome == 0.5).any())


def _refuse_unconnected(table: _Table, names: list[str]) -> None:
    """Raise a `UserError` unless every system can be reached from every other through wins or ties.

    Only then are the strengths finite.
    """
    beats = np.zeros((table.systems, table.systems))
    for a, b, outcome in zip(table.a, table.b, table.outcome, strict=True):
        beats[a, b] += outcome > 0
        beats[b, a] += outcome < 1
    groups, label = connected_components(beats, directed=True, connection="strong")
    if groups > 1:
        smallest = min(range(groups), key=lambda g: int((label == g).sum()))
        apart = ", ".join(name for name, group in zip(names, label, strict=True) if group == smallest)
        raise UserError(
            f"The systems cannot be put on one scale: {apart} won all or lost all games against the others; "
            "play more prompts or leave it out."
        )


def _fit(table: _Table, steps: int = 100) -> tuple[Array, Array, Array]:
    """Fit (theta, log nu) by Newton's method; return parameters, score of each game, and information.

    The outcome of a game is a softmax over three utilities, theta_a, theta_b and (theta_a + theta_b)/2 + log
    nu.
    """
    basis = _utility_basis(table)
    tied = table.outcome == 0.5
    decided = np.where(tied, 0.0, table.outcome), np.where(tied, 0.0, 1 - table.outcome)
    happened = np.stack([*decided, tied.astype(float)], axis=1)
    x = np.zeros(table.systems + 1)
    for _ in range(steps):
        u = basis @ x
        if not table.has_ties:
            u[:, 2] = -np.inf
        p = np.exp(u - u.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        scores = np.einsum("go,gok->gk", happened - p, basis)
        mean = np.einsum("go,gok->gk", p, basis)
        flat = basis.reshape(-1, x.size)
        information = flat.T @ (p.reshape(-1, 1) * flat) - mean.T @ mean + _gauge(table)
        step = np.linalg.solve(information, scores.sum(axis=0))
        x = x + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            return x, scores, information
    raise UserError(f"The ranking did not converge in {steps} steps; play more prompts between the systems.")


def _gauge(table: _Table) -> Array:
    """Return a matrix that makes the information invertible in directions that the data do not determine.

    These are a constant added to every theta, and nu if there are no ties. Scores have no component in these
    directions, so the matrix only keeps mean(theta) at zero.
    """
    gauge = np.ones((table.systems + 1, table.systems + 1))
    gauge[-1, :] = gauge[:, -1] = 0
    gauge[-1, -1] = 0 if table.has_ties else 1
    return gauge


def _utility_basis(table: _Table) -> Array:
    """Return the derivative of each outcome's utility by each parameter, `(games, outcomes, parameters)`."""
    games = np.arange(table.a.size)
    basis = np.zeros((table.a.size, 3, table.systems + 1))
    basis[games, 0, table.a] = 1
    basis[games, 1, table.b] = 1
    basis[games, 2, table.a] = basis[games, 2, table.b] = 0.5
    if table.has_ties:
        basis[:, 2, -1] = 1
    return basis


def _sandwich(table: _Table, scores: Array, information: Array) -> Array:
    """Return the covariance that allows for correlated games of one prompt (Liang & Zeger 1986).

    It is multiplied by n / (n - 1), with n the number of prompts.
    """
    by_prompt = np.zeros((table.prompt.max() + 1, scores.shape[1]))
    np.add.at(by_prompt, table.prompt, scores)
    bread = np.linalg.inv(information)
    prompts = by_prompt.shape[0]
    return bread @ (by_prompt.T @ by_prompt) @ bread * (prompts / max(1, prompts - 1))
