"""Recipes of every kind: dotted keys with default, limits and choices, and names that values may have."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from boresight import methods
from boresight.config.recipe import Recipe
from boresight.data import layouts
from boresight.evaluation.recipe import CountdownRecipe, HarnessRecipe, RewardRecipe, WinRateRecipe
from boresight.experiments.study.metrics import METRICS
from boresight.experiments.study.plan import StudyPlan
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.scorers import judges
from boresight.scorers.reward_function import BUILTIN
from boresight.synthesis.judge_config import RubricConfig
from boresight.synthesis.recipe import SynthesisRecipe

KINDS: dict[str, type[BaseModel]] = {
    "train": Recipe,
    "evaluate, win rate": WinRateRecipe,
    "evaluate, reward": RewardRecipe,
    "evaluate, countdown": CountdownRecipe,
    "evaluate, lm_eval": HarnessRecipe,
    "synthesize": SynthesisRecipe,
    "sweep": SweepRecipe,
    "study": StudyPlan,
}


def observe() -> dict[str, Any]:
    """Keys by kind of recipe, by method and by judge; and all names."""
    return {
        "recipes": {kind: keys(model) for kind, model in KINDS.items()},
        "methods": {name: keys(methods.get(name).Config) for name in methods.names()},
        "judges": {name: keys(judges.get(name).Config) for name in judges.names()},
        "judges of synthesize": {"rubric": keys(RubricConfig)},
        "layouts": {s.name: {"kind": s.kind, "columns": list(s.columns)} for s in layouts.all_layouts()},
        "rewards": sorted(BUILTIN),
        "metrics of a study": sorted(METRICS),
    }


def keys(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every dotted key below `model`; `*` stands for a name the user chooses, `[]` for a place in a list."""
    found: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        below: dict[str, Any] = {}
        for suffix, inner in _models(info.annotation):
            below |= keys(inner, f"{prefix}{name}{suffix}.")
        found[prefix + name] = _field(info)
        found |= below
    return found


def _field(info: FieldInfo) -> dict[str, Any]:
    described: dict[str, Any] = {"required": info.is_required()}
    if not info.is_required():
        described["default"] = to_jsonable_python(info.get_default(call_default_factory=True))
    limits = {k: v for m in info.metadata for k, v in _limits(m).items()}
    choices = sorted(map(str, _choices(info.annotation)))
    return described | ({"limits": limits} if limits else {}) | ({"choices": choices} if choices else {})


def _limits(constraint: Any) -> dict[str, Any]:
    names = ("gt", "ge", "lt", "le", "min_length", "max_length", "pattern", "allow_inf_nan")
    return {name: getattr(constraint, name) for name in names if getattr(constraint, name, None) is not None}


def _choices(annotation: Any) -> list[Any]:
    """All values that a `Literal` somewhere in the annotation names."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _models(annotation: Any, suffix: str = "") -> list[tuple[str, type[BaseModel]]]:
    """The sections in an annotation, each with how its keys are reached."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(suffix, annotation)]
    reached = {dict: ".*", list: "[]", tuple: "[]"}.get(get_origin(annotation), "")
    return [found for part in get_args(annotation) for found in _models(part, suffix + reached)]
