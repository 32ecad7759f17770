"""The recipe of an arm for a rehearsal: two steps of two rows, everything else as small as it can be."""

from __future__ import annotations

from typing import Any

from boresight.config.dotted import put
from boresight.config.recipe import Recipe
from boresight.experiments.study.rehearsal.model import MAX_TOKENS
from boresight.experiments.study.rehearsal.stand_ins import StandIns
from boresight.models.embedded import countdown_tiny
from boresight.runs.check.preflight import STOPS, finding_names

STEPS = 2
MOST = {
    "data.eval_rows": 8,
    "rollout.k": 2,
    "rollout.max_new_tokens": 8,
    "train.batch": 2,
    "train.save_every": 1,
    "evaluate.rewarded": 2,
    "evaluate.samples": 1,
    "evaluate.max_new_tokens": 8,
    "evaluate.kl_rows": 2,
    "check.probes": 2,
}
"""Upper limits of numbers in a rehearsal."""
SET: dict[str, object] = {
    "data.limit": 24,
    "data.eval_half": None,
    "model.device": None,
    "rollout.backend": "local",
    "rollout.base_url": None,
    "train.steps": STEPS,
    "train.epochs": None,
    "train.eval_every": STEPS,
    "train.trackers": [],
    "train.guard": None,
}
"""Settings that a rehearsal replaces: no network, no second machine, no early end."""


def shrunk(recipe: Recipe, stand_ins: StandIns, base: str, start: str | None = None) -> Recipe:
    """The recipe with stand-ins and two steps; no finding stops it, as too few steps would.

    Args:
        base: the model that the arm, or the first one of those that it starts from, trains.
        start: folder of the run that it starts from in the rehearsal.

    Raises:
        UserError: a model or data set for which nothing can stand in.
    """
    raw = recipe.to_dict()
    for key, most in MOST.items():
        if (value := _get(raw, key)) is not None:
            put(raw, key, min(value, most))
    for key, value in SET.items():
        put(raw, key, value)
    for key in ("data.train", "data.eval", "evaluate.prompts"):
        if (source := _get(raw, key)) is not None:
            mixed = isinstance(source, dict)
            found = {stand_ins.data(name): share for name, share in source.items()} if mixed else None
            put(raw, key, found or stand_ins.data(source))
    put(raw, "model.name", start or stand_ins.model(base))
    if base != countdown_tiny.NAME:
        put(raw, "data.max_length", MAX_TOKENS)  # bytes, and not tokens
    if raw["optim"]["lr"] == "auto":
        put(raw, "optim.lr", 1e-4)
    put(raw, "check.allow", [name for name in finding_names() if name not in STOPS.values()])
    return Recipe.parse(raw, "the rehearsal's recipe")


def _get(raw: dict[str, Any], key: str) -> Any:
    section, name = key.split(".")
    return raw[section][name]
