"""Rules that end a trial early if it falls behind. Pure functions of held-out curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from boresight.core.files import read_jsonl
from boresight.experiments.sweep.recipe import PruneSection

HeldOutCurve = dict[int, float]
"""Held-out value by number of training rows seen, comparable between trials with different batch sizes."""


class Pruned(Exception):
    """Raised to end a trial early; the message is the reason, in one sentence."""


def reason_to_prune(
    mine: HeldOutCurve, others: Sequence[HeldOutCurve], rule: PruneSection, better: str
) -> str | None:
    """Return the reason to end the trial with the curve `mine` now, or None if it may continue.

    `median` is the median stopping rule (Golovin et al. 2017, §3.2.1) on the best value so far; `halving`
    is asynchronous successive halving with reduction 2 (Li et al. 2020, arXiv 1810.05934).
    """
    now = max(mine)
    reached = [curve for curve in others if max(curve, default=0) >= now]
    if len(mine) < rule.after or len(reached) < rule.trials:
        return None
    sign = 1 if better == "higher" else -1
    if rule.rule == "median":
        own = max(sign * value for value in mine.values())
        bar = median(sign * value_at(curve, now) for curve in reached)
        if own < bar:
            return (
                f"its best after {now:,} rows, {sign * own:.4g}, is worse than the median, {sign * bar:.4g}."
            )
        return None
    if len(mine) & (len(mine) - 1):
        return None  # not the first, second, fourth … evaluation
    ranked = sorted([sign * value_at(curve, now) for curve in reached], reverse=True)
    own, bar = sign * mine[now], ranked[(len(ranked) + 1) // 2 - 1]
    if own < bar:
        return f"after {now:,} rows it has {sign * own:.4g}; the better half has {sign * bar:.4g} or better."
    return None


def value_at(curve: HeldOutCurve, rows: int) -> float:
    """Return the last value at or before `rows`, or the first value if there is none before."""
    before = [at for at in curve if at <= rows]
    return curve[max(before)] if before else curve[min(curve)]


def read_curve(run: Path, metric: str, batch: int) -> HeldOutCurve:
    """Read the held-out curve of a run so far, without the evaluation of the start model."""
    curve: HeldOutCurve = {}
    for line in read_jsonl(run / "metrics.jsonl"):
        value = line.get(metric)
        if line.get("split") == "eval" and line["step"] > 0 and value is not None:
            curve[line["step"] * batch] = value
    return curve
