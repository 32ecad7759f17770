"""What each verb leaves on disk: the files of its folder, and the keys in those that hold data."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.pins import runs

OF_OTHERS = {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}
"""Files whose keys are chosen by transformers alone."""
NUMBERED = re.compile(r"\brow-\d+\b")
"""Ids of rows: which of them are held out is no matter of the format."""


def observe() -> dict[str, Any]:
    """Files and keys by the verb that wrote them."""
    return {name: describe(folder) for name, folder in runs.every().items()}


def describe(folder: Path) -> dict[str, Any]:
    """Relative paths of all files, sorted, and the dotted keys of each that has any.

    Keys inside run folders of sweeps and studies are left out: they are those of any run.
    """
    files = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    keys = {name: keys_in(path) for name, path in files.items() if "/run/" not in name}
    return {"files": list(files), "keys": {name: found for name, found in keys.items() if found}}


def keys_in(path: Path) -> list[str]:
    """Dotted keys of JSON, JSONL or YAML, all lines and list items together, or the columns of a CSV."""
    if path.name in OF_OTHERS:
        return []
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])
    read = {".json": _json, ".jsonl": _json_lines, ".yaml": yaml.safe_load}.get(path.suffix)
    return dotted_keys(read(path.read_text(encoding="utf-8"))) if read else []


def dotted_keys(value: Any) -> list[str]:
    """Keys of nested mappings and of those in lists, each once, sorted."""
    return sorted(set(_dotted(value)))


def _dotted(value: Any, prefix: str = "") -> Iterable[str]:
    if isinstance(value, list):
        for item in value:
            yield from _dotted(item, prefix)
    elif isinstance(value, dict):
        for key, below in value.items():
            name = prefix + NUMBERED.sub("row-*", key)
            yield name
            yield from _dotted(below, f"{name}.")


def _json(text: str) -> Any:
    return json.loads(text)


def _json_lines(text: str) -> Any:
    return [json.loads(line) for line in text.splitlines()]
