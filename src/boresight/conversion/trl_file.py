"""Read a TRL config: the YAML file of `trl dpo --config`, or training arguments as JSON, but no pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from boresight.config.dotted import read_value, refuse_repeated
from boresight.config.recipe_files import named_values, read_text_file
from boresight.config.yaml_text import read_yaml
from boresight.core.errors import UserError

PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle"}
PICKLED = (b"\x80", b"PK\x03\x04")
"""First bytes of a pickle, and of the zip archive that `torch.save` writes."""


def read_trl_file(path: Path) -> dict[str, Any]:
    """Return the options in a config file by name, without checking names or values.

    Raises:
        UserError: no such file, a pickle, a Python script, a training log, neither YAML nor JSON, or no
            mapping of names.
    """
    _refuse_pickle(path)
    if path.suffix == ".py" and path.is_file():
        raise UserError(
            f"{path}: a script is not run; give what `print(args.to_json_string())` prints of its arguments, "
            "as a .json file, and after it the model, the data and the options of LoRA, which it lacks."
        )
    try:
        text = read_text_file(path, "config")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; give the YAML file of `trl … --config`.") from None
    found = _read_json(text, path) if path.suffix == ".json" else read_yaml(text, str(path))
    raw = named_values(found, path, "a config of TRL is a mapping such as `beta: 0.1`", "an option")
    if "log_history" in raw:
        raise UserError(f"{path}: is the log of a run and no config; boresight explain reads it.")
    return raw


def read_accelerate_file(path: Path) -> dict[str, Any]:
    """Return the options in a config file of accelerate by name.

    Raises:
        UserError: the file is neither YAML nor JSON, or no mapping of names.
    """
    text = read_text_file(path, "config")
    found = _read_json(text, path) if path.suffix == ".json" else read_yaml(text, str(path))
    expected = "a config of accelerate is a mapping such as `num_processes: 8`"
    return named_values(found, path, expected, "an option")


def with_words(raw: dict[str, Any], words: Iterable[str]) -> dict[str, Any]:
    """Return the options, with those that `words` of the form `name=value` set replaced or added.

    Raises:
        UserError: a word has another form, or an option is given twice.
    """
    found, given = dict(raw), list(words)
    refuse_repeated(given)
    for word in given:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UserError(f"{word!r}: options of TRL are written name=value, as in beta=0.1.")
        found[name] = read_value(value)
    return found


def _refuse_pickle(path: Path) -> None:
    if path.suffix in PICKLES or _first_bytes(path).startswith(PICKLED):
        raise UserError(
            f"{path}: a pickle can run code when it is read, so it is not; give the YAML config, or "
            "`print(args.to_json_string())` of the trainer's arguments as a .json file."
        )


def _first_bytes(path: Path) -> bytes:
    """Return the first four bytes of a file; none if it cannot be read, which is reported later."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(4)
    except (OSError, ValueError):
        pass
    return b""


def _read_json(text: str, path: Path) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON at line {error.lineno}; fix the syntax there.") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply for JSON; flatten it.") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} occurs twice; keep one of them")
    return found
