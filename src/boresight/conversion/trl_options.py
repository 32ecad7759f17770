"""Read the tables of TRL's options in `trl_fields.json` and `trl_options.yaml`.

`trl_fields.json` contains the types and defaults of all options, read from the TRL version named in the file;
a test marked `parity` fails if the installed version has others. `trl_options.yaml` contains the outcome for
each option: its key in a recipe, and one of four groups.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from boresight.config.yaml_text import read_yaml

FOLDER = Path(__file__).parent
OptionGroup = Literal["same", "differs", "unneeded", "missing"]
HEADINGS: dict[OptionGroup, str] = {
    "same": "Translated exactly",
    "differs": "Translated with a difference",
    "unneeded": "Not needed here",
    "missing": "Not supported",
}
"""Headings of the four groups of options; every option of a file belongs to one group."""


@dataclass(frozen=True, slots=True)
class TrlField:
    """Types of an option, such as `{"float", "null"}`, and its default value in TRL."""

    types: frozenset[str]
    default: Any


@dataclass(frozen=True, slots=True)
class TrlOption:
    """Outcome for an option of TRL, independent of its value."""

    group: OptionGroup
    here: str = ""
    """Corresponding key of a recipe; '' if there is none."""
    note: str = ""
    """Text for the user: the difference, the reason why the option is not needed, or an alternative."""
    harmless: tuple[Any, ...] = ()
    """Values at which an option that differs or is not supported has no effect."""


@cache
def trl_version() -> str:
    """Return the version of TRL that the types and defaults were read from."""
    return str(_fields_file()["trl"])


@cache
def trl_fields() -> dict[str, dict[str, TrlField]]:
    """Return the options of every trainer of TRL, as `result[trainer][option]`."""
    found = _fields_file()
    common = _read_fields(found["common"])
    trainers = {name: common | _read_fields(own) for name, own in found["trainers"].items()}
    # TRL removed XPO after version 1.13; its config was that of online DPO with the additional option alpha.
    xpo = trainers["online_dpo"] | {"alpha": TrlField(frozenset({"float", "list"}), [1e-5])}
    return trainers | {"xpo": xpo}


@cache
def trl_options() -> dict[str, TrlOption]:
    """Return the outcome for every option, including options of TRL's launcher and of earlier versions."""
    tables = _options_file()
    found = {name: TrlOption("same", **entry) for name, entry in tables["same"].items()}
    for name, entry in tables["differs"].items():
        found[name] = TrlOption("differs", entry["here"], entry["note"], tuple(entry.get("harmless", ())))
    for entry in tables["unneeded"]:
        found |= dict.fromkeys(entry["options"], TrlOption("unneeded", note=entry["why"]))
    for name, entry in tables["missing"].items():
        found[name] = TrlOption("missing", note=entry["do"], harmless=tuple(entry["harmless"]))
    return found


def renamed_options() -> dict[str, str]:
    """Return the current name of each option that had another name in earlier versions, by its old name."""
    return dict(_options_file()["renamed"])


@cache
def other_fields() -> dict[str, TrlField]:
    """Return the options that are in no trainer's config: those of TRL's launcher and of earlier versions."""
    known = {name for fields in trl_fields().values() for name in fields}
    types = _options_file()["other_types"]
    anything = "bool|dict|float|int|list|null|str"
    return {
        name: TrlField(frozenset(types.get(name, anything).split("|")), None)
        for name in trl_options()
        if name not in known
    }


def _read_fields(table: Mapping[str, list[Any]]) -> dict[str, TrlField]:
    return {name: TrlField(frozenset(types.split("|")), default) for name, (types, default) in table.items()}


@cache
def _fields_file() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "trl_fields.json").read_text(encoding="utf-8")))


@cache
def _options_file() -> dict[str, Any]:
    file = FOLDER / "trl_options.yaml"
    return dict(read_yaml(file.read_text(encoding="utf-8"), file.name))
