"""Apply changes of a plan from the command line, such as `arms.dpo-tuned.optim.lr=2e-4`.

A key below an arm that is no field of an arm is a key of its recipe, and is added to the arm's `set`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boresight.config.dotted import apply_override, read_value, refuse_repeated
from boresight.config.recipe import Recipe
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.experiments.study.plan import Arm, StudyPlan

NAMED = ("groups", "arms", "figures", "blocks")
"""Parts of a plan that contain sections by name."""


def load_plan(path: Path, overrides: Sequence[str] = ()) -> StudyPlan:
    """Read a plan, apply `key=value` overrides, and check it.

    Raises:
        UserError: a wrong plan, an override of another form, or an unknown key.
    """
    refuse_repeated(overrides)
    raw = StudyPlan.read(path)
    for override in overrides:
        _apply(raw, override)
    with StudyPlan.naming_overrides(path, overrides):
        return StudyPlan.parse(raw, str(path))


def _apply(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    section, _, rest = key.partition(".")
    named = raw.get(section)
    if not equals or not isinstance(named, dict) or section not in NAMED:
        apply_override(raw, override)
        return
    name = _name_in(named, section, rest)
    own = rest.removeprefix(name).removeprefix(".")
    if section == "arms" and own and isinstance(named[name], dict):
        _change_arm(named, name, own, read_value(value))
    elif own and isinstance(named[name], dict):
        named[name] = dict(named[name])  # a YAML anchor may share it
        apply_override(named[name], f"{own}={value}")
    else:
        raise UserError(f"{override!r}: names {section}.{name} and no setting of it; add one, as in a plan.")


def _name_in(named: Mapping[str, Any], section: str, rest: str) -> str:
    """Return the longest known name that `rest` begins with; names may contain dots.

    Raises:
        UserError: `rest` begins with no known name.
    """
    known = [name for name in named if rest == name or rest.startswith(f"{name}.")]
    if known:
        return max(known, key=len)
    hint = nearest(rest.partition(".")[0], named)
    raise UserError(f"command line: {section}.{rest}: the plan has no such name in {section}{hint}.")


def _change_arm(arms: dict[str, Any], name: str, key: str, value: object) -> None:
    """Set a field of an arm, or a key of its recipe, which is then the last of the arm's changes (`set`)."""
    arm = arms[name] = dict(arms[name])
    first, _, rest = key.partition(".")
    if first == "set" and rest:
        key, first = rest, rest.partition(".")[0]
    elif key in Arm.model_fields:
        arm[key] = value
        return
    if first not in Recipe.model_fields:
        known = [*Arm.model_fields, *Recipe.model_fields]
        raise UserError(f"command line: arms.{name}: unknown key {key}{nearest(first, known)}.")
    changes = dict(arm.get("set") or {})
    changes.pop(key, None)
    arm["set"] = {**changes, key: value}
