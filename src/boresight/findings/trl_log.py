"""Read the log that transformers' Trainer and TRL keep in `trainer_state.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
"""Metric name of boresight by that of TRL. Of several TRL names for one metric, the newest comes last. TRL's
rewards of pairs are log-ratios times beta."""
SAMPLED = {"kl": "kl"}
"""Further names, which have this meaning only if the log contains a reward of samples; KTO's `kl` is its
reference point."""
SCALED = {"margin", "chosen_logratio", "rejected_logratio"}
"""Metrics, by their names in boresight, that TRL multiplies by beta."""
OF_PAIRS = {"chosen", "rejected", "margins", "accuracies"}
"""Names below `rewards/` that belong to pairs; all others are names of reward functions."""
ASSUMED_EVAL_ROWS = 200
"""Assumed number of held-out rows for intervals, since the file does not contain it."""
USUAL_BETA = 0.1
"""Default beta of TRL's trainers for pairs."""
NOT_OF_TRL = "--beta is for the log of a TRL run on pairs; leave it out."

TrlLine = tuple[int, str, dict[str, float]]


@dataclass(frozen=True)
class TrlFacts:
    """Facts of the run besides its log. `beta` is None if it is neither given nor derivable. `eval_sets`:
    names of its evaluation sets if it has several; only lines of the first are read. `without_reference`:
    the method has no reference model, so that margins and log-ratios are not in the log."""

    steps: int
    eval_rows: int
    beta: float | None
    eval_sets: tuple[str, ...] = ()
    without_reference: bool = False


def name_in_trl(ours: str) -> str:
    """Return TRL's newest name for a metric of boresight; the name itself if TRL has none."""
    theirs = {name: theirs for theirs, name in (NAMES | SAMPLED).items()}
    return theirs.get(ours, ours)


def trainer_state_in(folder: Path) -> Path | None:
    """Return the `trainer_state.json` of a folder, or that of its latest checkpoint; None if it has none."""
    if (own := folder / "trainer_state.json").is_file():
        return own
    states = folder.glob("checkpoint-*/trainer_state.json")
    return max(states, key=lambda state: (_step_of(state.parent), state.stat().st_mtime), default=None)


def _step_of(checkpoint: Path) -> int:
    """The step in the name of a checkpoint; -1 without one. Copied files may have other times."""
    step = checkpoint.name.rpartition("-")[2]
    return int(step) if step.isdecimal() else -1


def read_trainer_state(file: Path, beta: float | None = None) -> tuple[list[TrlLine], TrlFacts]:
    """Read a log as lines `(step, split, numbers)` with boresight's names and units, and facts about the run.

    Args:
        beta: beta of the run; None derives it from the log, if possible.

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
    without_reference = _without_reference(history)
    if without_reference:
        beta = None
    elif beta is None:
        beta = derived_beta(history)
    lines: list[TrlLine] = []
    rate_sum, before = 0.0, 0
    for entry in history:
        step = int(entry["step"])
        split = "eval" if _is_evaluation(entry) else "train"
        numbers = _ours(entry, "eval_" if split == "eval" else "", beta)
        if split == "eval" and sets[0]:
            # transformers names the set before its loss; TRL's own metrics are `eval_rewards/…` in each set.
            numbers |= _ours(entry, f"eval_{sets[0]}_", beta)
        if without_reference:
            numbers = {name: value for name, value in numbers.items() if name not in SCALED}
        if "lr" in numbers:
            # A line covers all steps since the line before.
            rate_sum, before = rate_sum + numbers["lr"] * (step - before), step
            numbers["lr_sum"] = rate_sum
        if numbers:
            lines.append((step, split, numbers))
    planned = raw.get("max_steps")
    steps = planned if is_count(planned) and planned else max((step for step, _, _ in lines), default=0)
    known_sets = tuple(sets) if len(sets) > 1 else ()
    return lines, TrlFacts(steps, ASSUMED_EVAL_ROWS, beta, known_sets, without_reference)


def _without_reference(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the rewards of both answers are their log-probabilities times one positive number, as of TRL's
    CPO, SimPO and ORPO. With a reference the first rewards are about 0."""
    first = [entry for entry in history if "rewards/chosen" in entry][:5]
    ratios = [[_ratio(entry, side) for side in ("chosen", "rejected")] for entry in first]
    return bool(first) and all(
        a is not None and b is not None and a > 0 and math.isclose(a, b, rel_tol=0.01) for a, b in ratios
    )


def _ratio(entry: Mapping[str, Any], side: str) -> float | None:
    reward, logps = (_number(entry.get(f"{name}/{side}")) for name in ("rewards", "logps"))
    return reward / logps if reward and logps else None


def _is_evaluation(entry: Mapping[str, Any]) -> bool:
    return any(name.startswith("eval_") for name in entry)


def _eval_set(entry: Mapping[str, Any]) -> str:
    """Return the name of the evaluation set of a line, from `eval_NAME_runtime` or `eval_NAME_loss`.

    It is empty if the evaluation set has no name.
    """
    for ending in ("_runtime", "_loss"):  # one set may have several losses
        names = [name for name in entry if name.startswith("eval_") and name.endswith(ending)]
        if names:
            return "" if f"eval{ending}" in names else names[0].removeprefix("eval_").removesuffix(ending)
    return ""


def derived_beta(history: list[Mapping[str, Any]]) -> float | None:
    """Derive beta from two evaluations; None if the log does not contain two that differ enough.

    Beta is the change of the chosen reward divided by the change of the chosen log-probability. Both are
    means over the same held-out rows, and the reference model is fixed, so the ratio is exact up to the
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
    """Return further metrics of a log of sampled completions: KL, entropy, spread of rewards, and the reward
    of each function."""
    found = {ours: _number(entry.get(prefix + theirs)) for theirs, ours in SAMPLED.items()}
    entropy = _number(entry.get(prefix + "entropy"))
    found["logp_per_token"] = None if entropy is None else -entropy
    if (
        f"{prefix}frac_reward_zero_std" not in entry
        and (spread := _number(entry.get(prefix + "reward_std"))) is not None
        and math.isfinite(spread)
    ):
        # Older versions log only the mean standard deviation: 0 means that all groups have equal rewards.
        found["zero_variance"] = 1.0 if spread == 0 else 0.0
    for name in entry:
        part = name.removeprefix(f"{prefix}rewards/").removesuffix("/mean")
        if name.startswith(f"{prefix}rewards/") and "/" not in part and part not in OF_PAIRS:
            found[f"reward_{part}"] = _number(entry[name])
    return {name: value for name, value in found.items() if value is not None}


def _number(value: Any) -> float | None:
    """Return a number of the log as float, also NaN; None for any other value or an integer of `LARGEST` or
    more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isinstance(value, float) or abs(value) < LARGEST else None
