"""Win rates that control for the length of answers.

Judges and reward models favor long answers. Two views are given: the win rate split by which answer was
longer, which assumes nothing, and a logistic model of the win rate at equal lengths, which uses every prompt.
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
"""Share of prompts that must lie on either side of equal length. The bound is not from the literature: for
alpaca-7b against GPT-4 turbo, where 2 % do, the model turns a win rate of 2 % into 22 % at equal length."""
EXACT = 1e-8
"""Largest difference of an outcome from a fit that reproduces it; outcomes are shares of few ratings."""


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
    """The win rate the system would have if its answers were as long as the opponent's.

        logit P(win) = theta + phi · tanh(d / sd(d)),   d = length - opponent length per prompt

    and the answer is sigmoid(theta). This is the length term of length-controlled AlpacaEval (Dubois et al.
    2024, arXiv 2404.04475, equation 2) without its per-instruction difficulty, which exists only for their
    805 prompts. Outcomes in [0, 1]; a tie is 0.5. Limits are Student's t on the logit scale, with the
    variances of `_fit_logistic`. `prompts` is the prompt of each outcome, where some have several; n counts
    prompts.

    Raises UserError when the data cannot answer: fewer than three prompts; no spread in the length
    difference; answers of equal length outside the data (`LEAST_OVERLAP`); length decides every outcome, so
    that no finite fit exists; or the outcomes do not vary around the fit, as when all are ties, so that no
    interval does.
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
    """Win rates where the answer was shorter, about as long, longer; None where there is no such prompt."""

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
    """Win rates by relative length. Lengths count as similar if they differ by at most `tolerance` times the
    longer one.

    `prompts` as in `length_controlled_win_rate`.
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
    """The prompts, or a prompt of its own for each outcome."""
    return [str(n) for n in range(count)] if prompts is None else prompts


def _present_games(
    outcomes: Sequence[Value], lengths: Sequence[int], opponent_lengths: Sequence[int]
) -> tuple[Array, Array, np.ndarray]:
    """Outcome and length difference of the answers that have an outcome, and a mask of these."""
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
    """Prompts of equal length count on either side."""
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
    """The fit is finite only if neither direction of x splits what was won from what was lost.

    Albert & Anderson 1984, for one covariate and an intercept. A tie is part win, part loss.
    """
    won, lost = x[y > 0], x[y < 1]
    if won.min() >= lost.max() or won.max() <= lost.min():
        raise UserError(
            f"The win rate cannot be controlled for length: length alone decides all {y.size} outcomes; "
            "judge more prompts or use the split by length."
        )


def _fit_logistic(design: Array, y: Array, cluster: np.ndarray, steps: int = 50) -> tuple[Array, Array]:
    """Maximum-likelihood coefficients by damped Newton, and their variances.

    `cluster` numbers the prompt of each outcome, from 0; n below counts prompts.

    A variance is the larger of two estimates. The sandwich (White 1982), over prompts (Liang & Zeger 1986),
    times n / (n - parameters) (HC1), is right for ties and whatever the variance of an outcome, but falls to
    zero with few wins: at 1 of 53 its intervals for phi hold the truth in 40 % of studies. The information,
    times the dispersion
    Σ(y - p)² / Σp(1 - p), n / (n - parameters) as well (Wedderburn 1974), does not; it is multiplied by
    what the outcomes of a prompt add to the sandwich, at least by 1.
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
    """Without a residual, both estimates of a variance are zero or 0/0."""
    if np.abs(y - p).max() < EXACT:
        raise UserError(
            f"The win rate cannot be controlled for length: the fit reproduces all {y.size} outcomes, so it "
            "has no interval; judge more prompts or use the split by length."
        )


def _sigmoid(x: float) -> float:
    """The share of these log-odds; NaN for NaN."""
    return 0.0 if x < -700 else 1 / (1 + math.exp(-x))
