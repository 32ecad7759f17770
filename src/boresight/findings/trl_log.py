"""Read the log that transformers' Trainer and TRL keep in `trainer_state.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.files import read_json
from boresight.core.strict_model import LARGEST, is_count

NAMES = {
    "loss": "loss",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "rewards/chosen": "chosen_logratio",
    "rewards/rejected": "rejected_logratio",
    "logps/chosen": "chosen_logps",
    "logps/rejected": "rejected_logps",
    "grad_norm": "grad_norm",
    "learning_rate": "lr",
    "objective/scores": "reward",
    "reward": "reward",
    "objective/kl": "kl",
    "frac_reward_zero_std": "zero_variance",
    "completion_length": "sampled_len",
    "completions/mean_length": "sampled_len",
    "completions/clipped_ratio": "truncated",
}
"""Metric names of TRL and ours; the newest TRL name comes last. TRL's rewards are log-ratios times beta."""
SAMPLED = {"kl": "kl"}
"""Names that have this meaning only if the log has a reward of samples; KTO's `kl` is its reference point."""
SCALED = {"margin", "chosen_logratio", "rejected_logratio"}
"""Our metrics that TRL multiplies by beta."""
OF_PAIRS = {"chosen", "rejected", "margins", "accuracies"}
"""Names under `rewards/` that belong to pairs; all others are reward functions."""
ASSUMED_EVAL_ROWS = 200
"""Assumed number of held-out rows, for intervals: the file does not contain it."""
USUAL_BETA = 0.1
"""TRL's default for pairs."""
NOT_OF_TRL = "--beta is for the log of a TRL run on pairs; leave it out."

TrlLine = tuple[int, str, dict[str, float]]


@dataclass(frozen=True)
class TrlFacts:
    """Facts of the run besides its log. `beta` is None if it is neither given nor derivable. `eval_sets`:
    names of its evaluation sets if it has several; only lines of the first are read."""

    steps: int
    eval_rows: int
    beta: float | None
    eval_sets: tuple[str, ...] = ()


def name_in_trl(ours: str) -> str:
    """TRL's newest name of one of our metrics."""
    theirs = {name: theirs for theirs, name in (NAMES | SAMPLED).items()}
    return theirs.get(ours, ours)


def trainer_state_in(folder: Path) -> Path | None:
    """The `trainer_state.json` of a folder, or that of the latest of its checkpoints; None if it has none."""
    if (own := folder / "trainer_state.json").is_file():
        return own
    states = folder.glob("checkpoint-*/trainer_state.json")
    return max(states, key=lambda state: state.stat().st_mtime, default=None)


def read_trainer_state(file: Path, beta: float | None = None) -> tuple[list[TrlLine], TrlFacts]:
    """Lines `(step, split, numbers)` in our names and units, and the facts.

    Raises:
        UserError: the file is no JSON object with a `log_history`.
    """
    try:
        raw = read_json(file)
        history = [entry for entry in raw["log_history"] if is_count(entry.get("step"))]
        history.sort(key=lambda entry: entry["step"])  # the sum of rates is over steps
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{file}: not a trainer_state.json, it has no log_history.") from None
    sets = list(dict.fromkeys(_eval_set(entry) for entry in history if _is_evaluation(entry)))
    history = [entry for entry in history if not _is_evaluation(entry) or _eval_set(entry) == sets[0]]
    beta = derived_beta(history) if beta is None else beta
    lines: list[TrlLine] = []
    rate_sum, before = 0.0, 0
    for entry in history:
        step = int(entry["step"])
        split = "eval" if _is_evaluation(entry) else "train"
        numbers = _ours(entry, "eval_" if split == "eval" else "", beta)
        if split == "eval" and sets[0]:
            # transformers names the set before its loss; TRL's own metrics are `eval_rewards/…` in each set.
            numbers |= _ours(entry, f"eval_{sets[0]}_", beta)
        if "lr" in numbers:
            # One line stands for all steps since the one before.
            rate_sum, before = rate_sum + numbers["lr"] * (step - before), step
            numbers["lr_sum"] = rate_sum
        if numbers:
            lines.append((step, split, numbers))
    planned = raw.get("max_steps")
    steps = planned if is_count(planned) and planned else max((step for step, _, _ in lines), default=0)
    return lines, TrlFacts(steps, ASSUMED_EVAL_ROWS, beta, tuple(sets) if len(sets) > 1 else ())


def _is_evaluation(entry: Mapping[str, Any]) -> bool:
    return any(name.startswith("eval_") for name in entry)


def _eval_set(entry: Mapping[str, Any]) -> str:
    """The evaluation set of a line, from `eval_NAME_runtime` or `eval_NAME_loss`; empty without a name."""
    for ending in ("_runtime", "_loss"):  # one set may have several losses
        names = [name for name in entry if name.startswith("eval_") and name.endswith(ending)]
        if names:
            return "" if f"eval{ending}" in names else names[0].removeprefix("eval_").removesuffix(ending)
    return ""


def derived_beta(history: list[Mapping[str, Any]]) -> float | None:
    """Beta from two evaluations: change of the chosen reward over change of the chosen log-probability.

    Both are means over the same held-out rows, and the reference is fixed, so the ratio is exact up to the
    rounding of the log.
    """
    pairs = [(_number(e.get("eval_rewards/chosen")), _number(e.get("eval_logps/chosen"))) for e in history]
    found = [
        (reward, logp)
        for reward, logp in pairs
        if reward is not None and logp is not None and math.isfinite(reward) and math.isfinite(logp)
    ]
    if len(found) < 2:
        return None
    (r0, l0), (r1, l1) = found[0], max(found[1:], key=lambda pair: abs(pair[1] - found[0][1]))
    return (r1 - r0) / (l1 - l0) if abs(l1 - l0) > 0.1 and (r1 - r0) / (l1 - l0) > 0 else None


def _ours(entry: Mapping[str, Any], prefix: str, beta: float | None) -> dict[str, float]:
    numbers = {
        ours: value / (beta or 1.0) if ours in SCALED else value
        for theirs, ours in NAMES.items()
        if (value := _number(entry.get(prefix + theirs))) is not None
    }
    return numbers | (_of_samples(entry, prefix) if "reward" in numbers else {})


def _of_samples(entry: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """Further metrics in a log of sampled completions: KL, entropy, reward functions and their spread."""
    found = {ours: _number(entry.get(prefix + theirs)) for theirs, ours in SAMPLED.items()}
    entropy = _number(entry.get(prefix + "entropy"))
    found["logp_per_token"] = None if entropy is None else -entropy
    if (
        f"{prefix}frac_reward_zero_std" not in entry
        and (spread := _number(entry.get(prefix + "reward_std"))) is not None
        and math.isfinite(spread)
    ):
        # Older versions give the mean spread only: at 0 all groups are without one, else at least one is not.
        found["zero_variance"] = 1.0 if spread == 0 else 0.0
    for name in entry:
        part = name.removeprefix(f"{prefix}rewards/").removesuffix("/mean")
        if name.startswith(f"{prefix}rewards/") and "/" not in part and part not in OF_PAIRS:
            found[f"reward_{part}"] = _number(entry[name])
    return {name: value for name, value in found.items() if value is not None}


def _number(value: Any) -> float | None:
    """A number of the log, NaN included; None for anything else, and for an integer beyond all numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isinstance(value, float) or abs(value) < LARGEST else None
