"""Efficiency of a run's verifier calls: its held-out reward over calls, and the prompts with informative
samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from boresight.core.errors import UserError
from boresight.reports.read_run import RunData

CALLS = "verifier_calls"
"""Name in the log of the number of completions scored by a run's rewards so far."""
PART = "reward_"
"""Prefix of the names of single rewards in the log of a run with several."""


def held_out_by_calls(run: RunData, metric: str = "reward") -> list[tuple[int, float]]:
    """Verifier calls and held-out value of every evaluation, the start model's first.

    Several updates may share the samples of one rollout. Of evaluations without a verifier call between them
    the last one counts, since all that those calls have taught is in its model.

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
    """Steps and held-out values of each reward of a run that has several, by the reward's name."""
    names = sorted({name for line in run.eval for name in line if name.startswith(PART)} - {f"{PART}error"})
    return {
        name.removeprefix(PART): [
            (int(line["step"]), float(line[name])) for line in run.eval if _known(line, name)
        ]
        for name in names
    }


def area_under(curve: Sequence[tuple[int, float]]) -> float:
    """Mean height of a curve over its calls, by the trapezoid rule: in the unit of its values.

        A = Σ (x_i - x_{i-1}) (y_i + y_{i-1}) / 2 / (x_n - x_0)

    Raises:
        UserError: there are fewer than two points, so no area.
    """
    if len(curve) < 2:
        raise UserError(f"A curve of {len(curve)} evaluations has no area; two are the least.")
    parts = [(x - before) * (y + was) / 2 for (before, was), (x, y) in pairwise(curve)]
    return math.fsum(parts) / (curve[-1][0] - curve[0][0])


LOST = ("identical_share", "ties_share", "unscorable_share")
"""Logged shares of sampled pairs that gave no preference, by reason."""


def informative_prompts(run: RunData, k: int) -> float | None:
    """Number of prompts over the whole run whose samples got different rewards: pairs, or groups of k with
    unequal rewards.

    None if the run samples nothing, or logs no share of samples with different rewards for one of its
    rollouts.
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
    """Number of training rows, such as labeled pairs; None for a run that samples its rows."""
    if any(_known(line, CALLS) for line in run.train):
        return None
    kept = (run.data.get("train") or {}).get("kept")
    return float(kept) if isinstance(kept, int) else None


def trained_tokens(run: RunData) -> float | None:
    """Tokens of all rows that the run has trained on, to the precision of the log; None if it logs none."""
    wanted = ("seconds", "tokens_per_second")
    timed = [line for line in run.train if all(_known(line, name) for name in wanted)]
    return math.fsum(line["seconds"] * line["tokens_per_second"] for line in timed) if timed else None


def _known(line: Mapping[str, Any], name: str) -> bool:
    value = line.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def seconds_of_steps(run: RunData) -> float:
    """Seconds of the logged training steps. A process that was killed leaves its steps in the log, but not
    its own time."""
    return math.fsum(line["seconds"] for line in run.train if _known(line, "seconds"))
