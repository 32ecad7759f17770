"""Find settings of a recipe that have no effect beside its other settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

Rule = tuple[Iterable[str], bool, str]
"""Dotted keys, whether they have an effect, and the reason if not, as `without rollout.backend=vllm`."""
SERVER_ONLY = (
    "rollout.key_env",
    "rollout.shared_folder",
    "rollout.importance_cap",
    "rollout.importance_bound",
)
"""Settings that have an effect only with a vLLM server."""
MEASURED = (
    "data.eval_half",
    "train.eval_every",
    "evaluate.samples",
    "evaluate.rewarded",
    "check.probes",
)
"""Settings of measurements on held-out rows, or on the prompts of `evaluate.prompts`."""
MEASURED_ON_ROWS = ("data.eval", "evaluate.kl_rows")
"""Settings of measurements on held-out rows only."""


def settings_without_effect(
    changed: Mapping[str, Any], method: str, samples: Literal["group", "pair"] | None
) -> dict[str, str]:
    """Return the changed settings of a training recipe that have no effect, each with the text of its error.

    Such a text is `rollout.k has no effect with dpo, which samples no answers; remove it`.

    Args:
        changed: settings that differ from their defaults, by dotted key.
        method: name of the method.
        samples: whether the method samples a group or a pair of answers per prompt; None if it samples none.
    """
    rollout = [key for key in changed if key.startswith("rollout.")]
    held_out = changed.get("data.eval_rows") != 0
    prompts = bool(changed.get("evaluate.prompts"))
    nothing_held_out = "with data.eval_rows=0, which holds out no rows"
    two = f"with {method}, which samples two answers per prompt at every step"
    rules: list[Rule] = [
        (rollout, samples is not None, f"with {method}, which samples no answers"),
        (["rollout.k"], samples != "pair" or changed.get("rollout.k") == 2, two),
        (["rollout.updates"], samples != "pair", two),
        (SERVER_ONLY, "rollout.backend" in changed, "without rollout.backend=vllm"),
        (MEASURED_ON_ROWS, held_out, nothing_held_out),
        (MEASURED, held_out or prompts, nothing_held_out),
    ]
    return refusals_by(rules, changed)


def refusals_by(rules: Sequence[Rule], changed: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings among `changed` that have no effect, each with the sentence of its first rule."""
    found: dict[str, str] = {}
    for keys, acts, why in rules:
        for key in keys:
            if not acts and changed.get(key):  # 0, false and null turn off what is off in any case
                found.setdefault(key, f"{key} has no effect {why}; remove it")
    return found
