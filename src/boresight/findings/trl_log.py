"""Read the log that transformers' Trainer and TRL keep in `trainer_state.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.files import read_json

NAMES = {
    "loss": "loss",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "rewards/chosen": "chosen_logratio",
    "rewards/rejected": "rejected_logratio",
    "grad_norm": "grad_norm",
    "learning_rate": "lr",
    "reward": "reward",
    "frac_reward_zero_std": "zero_variance",
    "completions/mean_length": "sampled_len",
}
"""TRL's names and ours. Its rewards are log-ratios times beta."""
SCALED = {"margin", "chosen_logratio", "rejected_logratio"}
ASSUMED_EVAL_ROWS = 200
"""The file does not say how many held-out rows there were; intervals are for this many."""

TrlLine = tuple[int, str, dict[str, float]]


@dataclass(frozen=True)
class TrlFacts:
    """What is known of the run besides its log. `beta` is None where it is neither given nor derivable."""

    steps: int
    eval_rows: int
    beta: float | None


def read_trainer_state(file: Path, beta: float | None = None) -> tuple[list[TrlLine], TrlFacts]:
    """Lines `(step, split, numbers)` in our names and units, and the facts.

    Raises:
        UserError: the file is no JSON object with a `log_history`.
    """
    try:
        raw = read_json(file)
        history = [entry for entry in raw["log_history"] if isinstance(entry.get("step"), int)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{file}: not a trainer_state.json, it has no log_history.") from None
    beta = beta or derived_beta(history)
    lines: list[TrlLine] = []
    rate_sum, before = 0.0, 0
    for entry in history:
        step = int(entry["step"])
        split = "eval" if any(name.startswith("eval_") for name in entry) else "train"
        numbers = _ours(entry, "eval_" if split == "eval" else "", beta)
        if "lr" in numbers:
            # One line stands for all steps since the one before.
            rate_sum, before = rate_sum + numbers["lr"] * (step - before), step
            numbers["lr_sum"] = rate_sum
        if numbers:
            lines.append((step, split, numbers))
    planned = raw.get("max_steps")
    steps = (
        planned if isinstance(planned, int) and planned else max((step for step, _, _ in lines), default=0)
    )
    return lines, TrlFacts(steps, ASSUMED_EVAL_ROWS, beta)


def derived_beta(history: list[Mapping[str, Any]]) -> float | None:
    """Beta from two evaluations: change of the chosen reward over change of the chosen log-probability.

    Both are means over the same held-out rows, and the reference does not move, so the ratio is exact up to
    the rounding of the log.
    """
    found = [
        (float(e["eval_rewards/chosen"]), float(e["eval_logps/chosen"]))
        for e in history
        if "eval_rewards/chosen" in e and "eval_logps/chosen" in e
    ]
    if len(found) < 2:
        return None
    (r0, l0), (r1, l1) = found[0], max(found[1:], key=lambda pair: abs(pair[1] - found[0][1]))
    return (r1 - r0) / (l1 - l0) if abs(l1 - l0) > 0.1 and (r1 - r0) / (l1 - l0) > 0 else None


def _ours(entry: Mapping[str, Any], prefix: str, beta: float | None) -> dict[str, float]:
    numbers = {}
    for theirs, ours in NAMES.items():
        value = entry.get(prefix + theirs)
        if isinstance(value, int | float) and not isinstance(value, bool):
            numbers[ours] = value / (beta or 1.0) if ours in SCALED else float(value)
    return numbers
