"""Collect facts about a run for its report: settings, data, versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from boresight import methods
from boresight.config.dotted import flat
from boresight.core.wording import format_duration
from boresight.methods.base import MethodConfig
from boresight.reports.machine_use import MachineUse
from boresight.reports.read_run import RunData
from boresight.reports.tables.setup import SetupFact, data_facts

SPLITS = {"train": "training", "eval": "held out", "prompts": "prompts"}
"""Titles of the splits in data.json."""


@dataclass(frozen=True)
class SplitFacts:
    """One data split of data.json: title, path, and counts and hashes in order."""

    name: str
    path: str
    facts: list[SetupFact]


def facts(run: RunData) -> list[tuple[str, str]]:
    """Return the main settings of a run as `(label, value)`; missing settings are omitted."""
    get, use = partial(lookup, run.config), MachineUse.of(run)
    candidates = [
        ("method", run.method),
        ("model", get("model", "name")),
        ("training rows", _count(lookup(run.data, "train", "kept"))),
        ("rows trained on", _visits(run)),
        ("steps", _steps(run)),
        ("batch", _count(get("train", "batch"))),
        ("learning rate", _plain(get("optim", "lr"))),
        ("beta", _plain(get("method", "beta"))),
        ("computed in", lookup(run.choices, "dtype")),
        ("frozen weights", _base(lookup(run.choices, "base"))),
        ("LoRA rank", _plain(get("model", "lora", "r"))),
        ("time of training steps", _beside_ramp(use.seconds, use.seconds_by_ramp, format_duration)),
        ("peak memory", _beside_ramp(use.memory_gb, use.memory_by_ramp_gb, "{:.1f} GB".format)),
        ("seed", _seed(get("train", "seed"))),
    ]
    return [(name, str(value)) for name, value in candidates if value not in (None, "")]


def _seed(seed: object) -> str | None:
    return None if seed is None else str(seed)


def _base(form: str | None) -> str | None:
    return "nf4 (4 bits), in the reference and in every number here" if form == "nf4" else form


def _steps(run: RunData) -> str | None:
    stopped = "" if run.kept_step is None else f", stopped; the model is that of step {run.kept_step:,}"
    return f"{run.last_step:,}{stopped}" if run.last_step else None


def _visits(run: RunData) -> str | None:
    """Return the number of rows trained on and of epochs, such as `16 (0.14 epochs)`.

    Returns None if it is unknown, and for methods that sample their answers.
    """
    kept, batch = lookup(run.data, "train", "kept"), lookup(run.config, "train", "batch")
    if not (isinstance(kept, int) and isinstance(batch, int) and kept > 0 and run.model_step):
        return None
    if any("reward" in line for line in run.train):
        return None
    visits, epochs = run.model_step * batch, lookup(run.config, "train", "epochs")
    if not lookup(run.config, "train", "steps"):  # the last batch may be short
        visits = min(visits, round(kept * (epochs if isinstance(epochs, int | float) else 1)))
    passes = f"{visits / kept:.2g}" if visits < 10 * kept else f"{visits / kept:,.0f}"
    return f"{min(visits, kept):,} ({passes} {'epoch' if passes == '1' else 'epochs'})"


def method_settings(run: RunData) -> MethodConfig | None:
    """Return the settings of the run's method.

    Returns None for a user's own method, which a report does not import, and for settings that this version
    does not accept.
    """
    section = run.config.get("method")
    if run.method not in methods.names() or not isinstance(section, Mapping):
        return None
    given = {name: value for name, value in section.items() if name != "name"}
    try:
        return methods.get(run.method).Config(**given).at(0.0)
    except (TypeError, ValueError):  # of a version that had other settings
        return None


def splits(run: RunData) -> list[SplitFacts]:
    """Return every data split in data.json; fields without a label of their own are listed by their name."""
    found = []
    for name, split in run.data.items():
        if isinstance(split, Mapping):
            title = SPLITS.get(str(name), str(name))
            found.append(SplitFacts(title, str(split.get("path", "")), data_facts(split)))
    return found


def environment_facts(run: RunData) -> list[tuple[str, str]]:
    """Return `(name, value)` of environment.json; the name of a nested value is the last part of its key."""
    return [(name.rsplit(".", 1)[-1], value) for name, value in texts(run.environment).items()]


def texts(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the values of a nested mapping as text, by dotted key."""
    return {key: "none" if value is None else str(value) for key, value in flat(tree, prefix).items()}


def lookup(tree: Mapping[str, Any] | None, *keys: str) -> Any:
    """Return the value of a nested key; None if any part of the key is missing."""
    found: Any = tree
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _count(value: object) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None


def _plain(value: Any) -> str | None:
    return f"{value:g}" if isinstance(value, (int, float)) else value


def _beside_ramp(seen: float | None, by_ramp: float | None, say: Callable[[float], str]) -> str | None:
    """Return a value with the ramp's forecast, such as `3.1 GB (3.0 GB by its ramp)`; None if unknown."""
    if seen is None:
        return None
    return say(seen) if by_ramp is None else f"{say(seen)} ({say(by_ramp)} by its ramp)"
