"""Shrink the recipe of an arm for a rehearsal: two steps of two rows, and other sizes as small."""

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
"""Maximum values of settings in a rehearsal, by recipe key."""
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
"""Settings that a rehearsal replaces, so that it needs no network and no second machine and never ends
early."""


def shrunk(recipe: Recipe, stand_ins: StandIns, base: str, start: str | None = None) -> Recipe:
    """Return the recipe with two steps, and with stand-ins for its model and data.

    All findings that can be allowed are allowed, since for example two steps are too few for a real run.

    Args:
        base: name of the model in the plan: that of the arm or, if it starts from another arm, that of the
            first arm in this chain.
        start: folder of the run that the arm starts from in the rehearsal.

    Raises:
        UserError: a model or data set has no stand-in.
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
        put(raw, "data.max_length", MAX_TOKENS)  # a token of the stand-in is a byte
    if raw["optim"]["lr"] == "auto":
        put(raw, "optim.lr", 1e-4)
    put(raw, "check.allow", [name for name in finding_names() if name not in STOPS.values()])
    return Recipe.parse(raw, "the rehearsal's recipe")


def _get(raw: dict[str, Any], key: str) -> Any:
    section, name = key.split(".")
    return raw[section][name]
