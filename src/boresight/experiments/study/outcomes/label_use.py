"""Measure how efficiently a run uses verifier calls: held-out reward over calls, and informative prompts.

A prompt is informative if its samples received different rewards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from boresight.core.errors import UserError
from boresight.reports.read_run import RunData

CALLS = "verifier_calls"
"""Key in the log: number of completions that the run's rewards have scored so far."""
PART = "reward_"
"""Prefix of the keys of single rewards in the log of a run with several rewards."""


def held_out_by_calls(run: RunData, metric: str = "reward") -> list[tuple[int, float]]:
    """Return `(verifier calls, held-out value)` of the evaluations, beginning with that of the start model.

    Several updates may share the samples of one rollout, so that several evaluations have the same number of
    verifier calls. Only the last one of them is returned: its model has learned from all of these calls.

    Raises:
        UserError: the run logs no verifier calls, an evaluation lacks the value, or a step has two.
    """
    counted = {int(line["step"]): int(line[CALLS]) for line in run.train if _known(line, CALLS)}
    if not counted:
        raise UserError(f"{run.folder}: logs no {CALLS}, which methods that sample answers do.")
    curve: dict[int, float] = {}
    measured: set[int] = set()
    for line in run.eval:
        step = int(line["step"])
        if not _known(line, metric):
            raise UserError(f"{run.folder}: the evaluation after step {step} has no {metric}.")
        if step in measured:
            raise UserError(f"{run.folder}: two evaluations after step {step}.")
        measured.add(step)
        calls = max((n for at, n in counted.items() if at <= step), default=0)
        curve[calls] = float(line[metric])
    return sorted(curve.items())


def held_out_parts(run: RunData) -> dict[str, list[tuple[int, float]]]:
    """Return `(step, held-out value)` of every evaluation by reward; empty if the run has one reward."""
    names = sorted({name for line in run.eval for name in line if name.startswith(PART)} - {f"{PART}error"})
    return {
        name.removeprefix(PART): [
            (int(line["step"]), float(line[name])) for line in run.eval if _known(line, name)
        ]
        for name in names
    }


def area_under(curve: Sequence[tuple[int, float]]) -> float:
    """Compute the area under a curve of `(verifier calls, value)`, divided by the range of calls.

        A = Σ (x_i - x_{i-1}) (y_i + y_{i-1}) / 2 / (x_n - x_0)

    By the trapezoid rule; the result is a mean value, in the unit of the values.

    Raises:
        UserError: the curve has fewer than two points.
    """
    if len(curve) < 2:
        raise UserError(f"A curve of {len(curve)} evaluations has no area; two are the least.")
    parts = [(x - before) * (y + was) / 2 for (before, was), (x, y) in pairwise(curve)]
    return math.fsum(parts) / (curve[-1][0] - curve[0][0])


LOST = ("identical_share", "ties_share", "unscorable_share")
"""Keys in the log: shares of sampled pairs that gave no preference, one for each reason."""


def informative_prompts(run: RunData, k: int) -> float | None:
    """Return the number of prompts in the whole run whose samples received different rewards.

    The samples of a prompt are a pair, or a group of `k`. A prompt that occurs in several rollouts counts
    once for each. The result is None if the run samples nothing, or if one of its rollouts logs neither
    shares of pairs without a preference nor of groups with equal rewards.
    """
    found, before = [], 0
    for line in run.train:
        calls = int(line[CALLS]) if _known(line, CALLS) else before
        if calls == before:  # another update with the same samples
            continue
        if all(_known(line, name) for name in LOST):
            found.append((calls - before) / 2 * (1 - math.fsum(line[name] for name in LOST)))
        elif _known(line, "zero_variance"):
            unknown = line["too_few_scored"] if _known(line, "too_few_scored") else 0.0
            found.append((calls - before) / k * (1 - line["zero_variance"] - unknown))
        else:
            return None
        before = calls
    return math.fsum(found) if found else None


def training_rows(run: RunData) -> float | None:
    """Return the number of training rows, such as labeled pairs; None for a run that samples completions."""
    if any(_known(line, CALLS) for line in run.train):
        return None
    kept = (run.data.get("train") or {}).get("kept")
    return float(kept) if isinstance(kept, int) else None


def trained_tokens(run: RunData) -> float | None:
    """Return the number of tokens that the run has trained on; None if the log does not contain it.

    Computed as seconds times tokens per second, to the precision of the log.
    """
    wanted = ("seconds", "tokens_per_second")
    timed = [line for line in run.train if all(_known(line, name) for name in wanted)]
    return math.fsum(line["seconds"] * line["tokens_per_second"] for line in timed) if timed else None


def _known(line: Mapping[str, Any], name: str) -> bool:
    value = line.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def seconds_of_steps(run: RunData) -> float:
    """Return the sum of the seconds of the logged training steps.

    It includes the steps of a process that was killed, whose total time is not recorded elsewhere.
    """
    return math.fsum(line["seconds"] for line in run.train if _known(line, "seconds"))
