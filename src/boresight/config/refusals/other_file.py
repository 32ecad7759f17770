"""Refuse files that are given in place of a recipe: data files, and recipes of other verbs."""

from __future__ import annotations

import shlex
from codecs import BOM_UTF8
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel

from boresight.core.errors import UserError

REQUIRED = {
    "train": {"method", "data", "optim"},
    "evaluate": {"systems"},
    "synthesize": {"endpoints", "answers"},
    "sweep": {"recipe", "metric"},
    "study": {"title", "groups", "arms"},
}
"""Sections that every recipe of a verb contains."""
DATA_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
"""Suffixes of files that contain rows of data."""
LONGEST_SPACE = 4096
"""Number of bytes at the start of a JSON file in which its first bracket is searched."""


def refuse_recipe_of_other_verb(path: Path, sections: Collection[str], kind: type[BaseModel]) -> None:
    """Raise a `UserError` for a recipe that has all sections of another verb and not all of its own.

    Args:
        path: path of the file, for the error.
        sections: sections of the file.
        kind: class of the recipe that is expected.
    """
    own = {name for name, field in kind.model_fields.items() if field.is_required()}
    verb = next((verb for verb, required in REQUIRED.items() if required <= {*sections}), None)
    if verb is not None and not own <= {*sections}:
        raise UserError(f"{path}: is a recipe of `boresight {verb}`.")


def refuse_data_file(path: Path, kind: type[BaseModel]) -> None:
    """Raise a `UserError` if the file contains rows of data and is no recipe."""
    if not _holds_rows(path):
        return
    if {*kind.model_fields} >= REQUIRED["train"]:
        file = shlex.quote(str(path))
        raise UserError(f"{path}: is a data file; `boresight init {file}` writes a recipe for it.")
    raise UserError(f"{path}: is a data file; give a recipe that names it.")


def _holds_rows(path: Path) -> bool:
    """Whether a file exists and, by its suffix, contains rows; a JSON file does if it contains a list."""
    name = path.name.lower()
    plain = name.removesuffix(".gz")
    try:
        if not plain.endswith((*DATA_SUFFIXES, ".json")) or not path.is_file():
            return False
        if plain != name or not plain.endswith(".json"):
            return True
        with path.open("rb") as file:
            return file.read(LONGEST_SPACE).removeprefix(BOM_UTF8).lstrip()[:1] == b"["
    except (OSError, ValueError):  # no permission, a name that no file can have: reported by the reader
        return False
