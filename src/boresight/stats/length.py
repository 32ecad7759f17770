"""Compute win rates that control for the length of answers.

Judges and reward models favor long answers. There are two methods: the win rate split by which answer was
longer, which makes no assumption, and a logistic model of the win rate at equal lengths, which uses every
prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as sps

from boresight.core.errors import UserError
from boresight.core.wording import percent
from boresight.stats.intervals import Array, Interval, Value, clustered_share, grouped

LEAST_OVERLAP = 0.05
"""Minimum share of prompts on which the answer is not shorter, and on which it is not longer.

The bound is not from the literature. For alpaca-7b against GPT-4 turbo, where one of these shares is 2 %, the
model turns a win rate of 2 % into 22 % at equal length.
"""
EXACT = 1e-8
"""Maximum absolute difference of outcomes from a fit that counts as exact; outcomes are shares of few
ratings."""


@dataclass(frozen=True)
class LengthControlled:
    """Win rates of one system over another, as judged and at equal answer lengths."""

    raw: Interval
    at_equal_length: Interval
    length_effect: Interval
    """Log-odds of winning per unit of tanh(length difference / its standard deviation)."""


def length_controlled_win_rate(
    outcomes: Sequence[Value],
    lengths: Sequence[int],
    opponent_lengths: Sequence[int],
    prompts: Sequence[str] | None = None,
) -> LengthControlled:
    """Estimate the win rate that the system would have if its answers were as long as the opponent's.

        logit P(win) = theta + phi · tanh(d / sd(d)),   d = length - opponent length per prompt

    The estimate is sigmoid(theta). This is the length term of length-controlled AlpacaEval (Dubois et al.
    2024, arXiv 2404.04475, equation 2) without its per-instruction difficulty, which exists only for their
    805 prompts. Limits are Student's t on the logit scale, with the variances of `_fit_logistic`.

    Args:
        outcomes: outcomes in [0, 1], 0.5 for a tie.
        prompts: prompt of each outcome, if some prompts have several; n of the intervals is the number of
            prompts.

    Raises:
        UserError: the data do not allow an estimate. There are fewer than three prompts; the length
            difference is constant; almost all answers are longer, or shorter (`LEAST_OVERLAP`); all outcomes
            are equal; length decides every outcome, so that no finite fit exists; or the fit is exact, so
            that there is no interval.
    """
    keys = _keys(prompts, len(outcomes))
    y, d, known = _present_games(outcomes, lengths, opponent_lengths)
    cluster = np.unique(np.asarray(keys)[known], return_inverse=True)[1]
    size, missing = int(cluster.max()) + 1, int((~known).sum())
    if size <= 2:
        raise UserError(f"The win rate cannot be controlled for length on {size} prompts; judge more.")
    spread = float(d.std())
    if spread == 0:
        raise UserError(
            "The win rate cannot be controlled for length: the length difference is the same on every prompt."
        )
    _refuse_extrapolation(d)
    x = np.tanh(d / spread)
    _refuse_constant(y)
    _refuse_separation(y, x)
    design = np.stack([np.ones_like(x), x], axis=1)
    beta, variance = _fit_logistic(design, y, cluster)
    reach = sps.t.ppf(0.975, size - beta.size) * np.sqrt(variance)
    theta, phi = (
        Interval(float(b), float(b - r), float(b + r), size, missing)
        for b, r in zip(beta, reach, strict=True)
    )
    return LengthControlled(
        raw=clustered_share(grouped(outcomes, keys)),
        at_equal_length=theta.transformed(_sigmoid),
        length_effect=phi,
    )


@dataclass(frozen=True)
class LengthSplit:
    """Win rates on prompts where the answer was shorter, about as long, or longer; None without prompts."""

    shorter: Interval | None
    similar: Interval | None
    longer: Interval | None


def length_matched_split(
    outcomes: Sequence[Value],
    lengths: Sequence[int],
    opponent_lengths: Sequence[int],
    tolerance: float = 0.1,
    prompts: Sequence[str] | None = None,
) -> LengthSplit:
    """Compute win rates by relative length of the answer.

    Lengths are similar if they differ by at most `tolerance` times the longer one. The other arguments are
    those of `length_controlled_win_rate`.
    """
    y, d, known = _present_games(outcomes, lengths, opponent_lengths)
    keys = np.asarray(_keys(prompts, len(outcomes)))[known]
    longest = np.maximum(lengths, opponent_lengths)[known]
    similar = np.abs(d) <= tolerance * longest

    def part(chosen: np.ndarray) -> Interval | None:
        if not chosen.any():
            return None
        return clustered_share(grouped(y[chosen].tolist(), keys[chosen].tolist()))

    return LengthSplit(part(~similar & (d < 0)), part(similar), part(~similar & (d > 0)))


def _keys(prompts: Sequence[str] | None, count: int) -> Sequence[str]:
    """Return the prompt of each outcome; if `prompts` is None, each outcome has its own."""
    return [str(n) for n in range(count)] if prompts is None else prompts


def _present_games(
    outcomes: Sequence[Value], lengths: Sequence[int], opponent_lengths: Sequence[int]
) -> tuple[Array, Array, np.ndarray]:
    """Return outcomes and length differences of the games with an outcome, and the mask of these games."""
    if not len(outcomes) == len(lengths) == len(opponent_lengths):
        raise ValueError(
            "give one outcome and two lengths per prompt, "
            f"got {len(outcomes)}, {len(lengths)} and {len(opponent_lengths)}"
        )
    y = np.array([np.nan if o is None else float(o) for o in outcomes])
    known = ~np.isnan(y)
    if not known.any():
        raise UserError(f"There is no win rate: all {y.size} judgments are missing.")
    d = np.asarray(lengths, dtype=np.float64) - np.asarray(opponent_lengths, dtype=np.float64)
    return y[known], d[known], known


def _refuse_extrapolation(d: Array) -> None:
    """Raise a `UserError` if almost all answers are longer, or almost all shorter (`LEAST_OVERLAP`).

    Answers of equal length count as neither.
    """
    shorter, longer = float((d < 0).mean()), float((d > 0).mean())
    most = max(shorter, longer)
    if 1 - most < LEAST_OVERLAP:
        raise UserError(
            "The win rate cannot be controlled for length: "
            f"the answer is {'longer' if most == longer else 'shorter'} on {percent(most)} of {d.size} "
            "prompts, so a rate at equal length would be a guess; use the split by length."
        )


def _refuse_constant(y: Array) -> None:
    if (y == y[0]).all():
        outcome = {0.0: "were lost", 0.5: "were tied", 1.0: "were won"}.get(y[0], "have the same outcome")
        raise UserError(f"The win rate cannot be controlled for length: all {y.size} prompts {outcome}.")


def _refuse_separation(y: Array, x: Array) -> None:
    """Raise a `UserError` if a threshold of x separates wins from losses, since the fit is then not finite.

    Albert & Anderson 1984, for one covariate and an intercept. A tie is part win, part loss.
    """
    won, lost = x[y > 0], x[y < 1]
    if won.min() >= lost.max() or won.max() <= lost.min():
        raise UserError(
            f"The win rate cannot be controlled for length: length alone decides all {y.size} outcomes; "
            "judge more prompts or use the split by length."
        )


def _fit_logistic(design: Array, y: Array, cluster: np.ndarray, steps: int = 50) -> tuple[Array, Array]:
    """Return maximum-likelihood coefficients by damped Newton steps, and their variances.

    A variance is the larger of two estimates. With n the number of prompts, they are

    - the sandwich (White 1982) over prompts (Liang & Zeger 1986), times n / (n - parameters) (HC1). It is
      valid for ties and for any variance of an outcome, but goes to zero with few wins: with 1 win of 53, its
      intervals for phi contain the true value in 40 % of studies;
    - the inverse information, times the dispersion Σ(y - p)² / Σp(1 - p), times n / (n - parameters)
      (Wedderburn 1974), which does not go to zero. It is multiplied by the ratio of the sandwich over prompts
      to that over single outcomes, at least by 1.

    Args:
        cluster: index of the prompt of each outcome, from 0.
    """
    size = int(cluster.max()) + 1
    beta = np.zeros(design.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-design @ beta))
        information = design.T @ (design * (p * (1 - p))[:, None])
        step = np.linalg.solve(information, design.T @ (y - p))
        beta = beta + step / max(1.0, float(np.abs(step).max()))  # no coefficient moves by more than 1
        if np.abs(step).max() < 1e-10:
            _refuse_exact(y, p)
            scores, by_prompt = design * (y - p)[:, None], np.zeros((size, beta.size))
            np.add.at(by_prompt, cluster, scores)
            bread = np.linalg.inv(information)
            apart, sandwich = (np.diag(bread @ (s.T @ s) @ bread) for s in (scores, by_prompt))
            dispersion = ((y - p) ** 2).sum() / (p * (1 - p)).sum() * np.maximum(1, sandwich / apart)
            return beta, size / (size - beta.size) * np.maximum(sandwich, dispersion * np.diag(bread))
    raise UserError(
        f"The length-controlled fit did not converge in {steps} steps over {y.size} prompts; "
        "judge more prompts or use the split by length."
    )


def _refuse_exact(y: Array, p: Array) -> None:
    """Raise a `UserError` if the fit is exact: without residuals there is no estimate of the variance."""
    if np.abs(y - p).max() < EXACT:
        raise UserError(
            f"The win rate cannot be controlled for length: the fit reproduces all {y.size} outcomes, so it "
            "has no interval; judge more prompts or use the split by length."
        )


def _sigmoid(x: float) -> float:
    """Convert log-odds to a share; NaN for NaN."""
    return 0.0 if x < -700 else 1 / (1 + math.exp(-x))
