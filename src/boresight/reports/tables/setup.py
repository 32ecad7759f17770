"""Describe recipe, data and environment of a run in words, for its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boresight import methods
from boresight.config.dotted import flat
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError

SETTINGS = {
    "method.name": "method",
    "model.name": "model",
    "model.dtype": "precision",
    "model.lora.r": "LoRA rank",
    "model.lora.alpha": "LoRA scale (alpha)",
    "model.lora.dropout": "LoRA dropout",
    "model.lora.targets": "layers with adapters",
    "data.train": "training data",
    "data.eval": "held-out data",
    "data.eval_rows": "held-out rows",
    "data.max_length": "longest row, tokens",
    "data.columns": "columns by their names in layouts",
    "optim.lr": "learning rate",
    "optim.clip": "largest gradient norm",
    "optim.betas": "decay of Adam's moments",
    "train.batch": "rows per step",
    "train.seed": "seed",
    "rollout.k": "samples per prompt",
    "evaluate.samples": "prompts answered before and after",
}
"""Labels of settings whose keys are not clear enough; any other label is the last part of the key."""

DATA = {
    "layout": "layout",
    "sha256": "SHA-256 of the source",
    "tokens_sha256": "SHA-256 of the tokens",
    "rows": "rows of this split",
    "kept": "rows used",
    "prompts": "prompts of these rows",
    "truncated": "rows cut",
    "dropped": "rows dropped",
    "bad": "malformed rows",
    "dropped_ids": "ids of dropped rows",
    "columns": "columns by their names in layouts",
    "template_day": "date in the chat template",
    "split_turns": "turns as rows of their own",
    "asked": "prompts answered",
}
ENVIRONMENT = {
    "python": "Python",
    "machine": "operating system",
    "cores": "processor cores",
    "gpu": "GPU",
    "memory_gb": "memory, GB",
}
SHOWN_ITEMS = 3
"""Maximum number of entries of a list that are printed."""


@dataclass(frozen=True)
class SetupFact:
    """A line of the set-up: label and value in words, and the key in the recipe or the file."""

    label: str
    key: str
    value: str


def changed_settings(config: Mapping[str, Any]) -> list[SetupFact]:
    """Return the settings of a recipe that differ from the defaults, in the order of the recipe.

    Method, training data and learning rate are always among them. The list is empty for a method of the
    user's own, whose code a report does not import, and for a recipe that this version cannot read.
    """
    method = config.get("method")
    name = method.get("name") if isinstance(method, Mapping) else method
    if name not in methods.names():
        return []
    try:
        least = {"method": {"name": name}, "data": {"train": "-"}, "optim": {"lr": 1.0}}
        defaults, given = (_settings(Recipe.parse(raw)) for raw in (least, dict(config)))
    except UserError:
        return []
    always = ("method.name", "data.train", "optim.lr")
    return [
        SetupFact(SETTINGS.get(key, _words(key)), key, keyed_value_in_words(key, value))
        for key, value in given.items()
        if key in always or value != defaults.get(key)
    ]


def data_facts(split: Mapping[str, Any]) -> list[SetupFact]:
    """Return counts and hashes of one split of data.json; a key without a label keeps its own name."""
    return [
        SetupFact(DATA.get(key, _words(key)), key, value[:12] if "sha" in key else value)
        for key, value in ((str(name), in_words(found)) for name, found in split.items())
        if key != "path"
    ]


def environment_in_words(environment: Mapping[str, Any]) -> list[SetupFact]:
    """Return versions and machine of a run, with labels and values in words."""
    return [
        SetupFact(
            ENVIRONMENT.get(_last(key), _words(key)),
            key,
            "not installed" if value is None and key.startswith("packages.") else in_words(value),
        )
        for key, value in flat(environment).items()
    ]


def keyed_value_in_words(key: str, value: object) -> str:
    """Return a value as text by `in_words`, but a seed without thousands separators."""
    return str(value) if _last(key).endswith("seed") and isinstance(value, int) else in_words(value)


def in_words(value: object) -> str:
    """Return a value as text without programming syntax: `none`, `yes`, `1,024`, `q_proj; v_proj`."""
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {in_words(inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        left = len(value) - SHOWN_ITEMS
        shown = "; ".join(map(in_words, value[:SHOWN_ITEMS]))
        return f"{shown}; and {left:,} more" if left > 0 else shown
    return str(value)


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Return the values of a recipe by dotted key.

    Data sources and columns have keys that the user chooses, so each of the two is one text.
    """
    raw = recipe.to_dict()
    raw["data"] |= {key: in_words(raw["data"][key]) for key in ("train", "columns")}
    return flat(raw)


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _words(key: str) -> str:
    return _last(key).replace("_", " ")
