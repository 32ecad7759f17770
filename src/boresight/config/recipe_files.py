"""Files of recipes: those of the user by their path, and those in this package by their name.

    recipe_path("my/dpo.yaml")   my/dpo.yaml
    recipe_path("dpo")           dpo or dpo.yaml in the working directory, else recipes/dpo.yaml here

`recipe_names` lists the names of one kind of recipe.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from boresight.config.refusals.other_file import refuse_data_file, refuse_recipe_of_other_verb
from boresight.config.yaml_text import read_yaml
from boresight.core.errors import UserError, first_line

FOLDER = Path(__file__).parents[1] / "recipes"
"""The recipes in this package. Their names are their paths below it, without the suffix."""
LONGEST = 10**6
"""Bytes of a recipe; YAML takes about 20 s for as many."""
KEY = re.compile(r"^(\w+):", re.M)
"""A key at the top level."""
SENTENCE = re.compile(r".+?[.?](?= |$)")


def recipe_path(name: str | Path) -> Path:
    """The file that a path or a name stands for. The user's files come before those of the package.

    Returns the path itself if neither exists.
    """
    path = Path(name)
    packaged = [FOLDER / f"{path}.yaml"] if not path.is_absolute() and ".." not in path.parts else []
    return next((file for file in (path, Path(f"{path}.yaml"), *packaged) if _is_there(file)), path)


def recipe_stem(path: Path) -> str:
    """The name of a recipe, for its folder, without a file extension; the `.1` of `synth-v1.1` is not one."""
    return path.stem if path.suffix in (".yaml", ".yml", ".json") else path.name


def recipe_from(folder: Path, name: str) -> Path:
    """Path of the recipe that a sweep or plan in `folder` names: a path relative to the folder, or a name
    as for `recipe_path`."""
    beside = folder / name
    return beside if _is_there(beside) else recipe_path(name)


def _is_there(path: Path) -> bool:
    """Whether there is something of that name that is not a folder."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):  # no permission, a name that no file can have
        return False


def recipe_names(kind: type[BaseModel]) -> dict[str, str]:
    """Names of the recipes in this package of a kind, each with its first sentence.

    A recipe is of a kind if it has all sections which that kind requires.
    """
    required = {name for name, field in kind.model_fields.items() if field.is_required()}
    files = {file.relative_to(FOLDER).with_suffix("").as_posix(): file for file in FOLDER.rglob("*.yaml")}
    texts = {name: files[name].read_text(encoding="utf-8") for name in sorted(files)}
    return {name: _first_sentence(text) for name, text in texts.items() if required <= set(KEY.findall(text))}


def _first_sentence(text: str) -> str:
    """The first sentence of the comment at the top."""
    lines = takewhile(lambda line: line.startswith("# "), text.split("\n"))
    comment = " ".join(line.removeprefix("# ") for line in lines)
    found = SENTENCE.match(comment)
    return found[0] if found else comment


def read_recipe_file(name: str | Path, kind: type[BaseModel]) -> dict[str, Any]:
    """The recipe at a path or with a name, as nested dictionaries; its values are not validated.

    Args:
        kind: kind of recipe; an error lists the names of this kind.

    Raises:
        UserError: no such recipe, an unreadable file, invalid YAML, data, a recipe of another kind.
    """
    path = recipe_path(name)
    try:
        refuse_data_file(path, kind)
        text = read_text_file(path, "recipe")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such recipe; {_instead(path, recipe_names(kind))}.") from None
    expected = "a recipe is a mapping of sections such as `model:`"
    raw = named_values(read_yaml(text, str(path)), path, expected, "a section")
    refuse_recipe_of_other_verb(Path(name), raw, kind)
    return raw


def is_of_a_run(path: Path) -> bool:
    """Whether the file is the resolved recipe in the folder of a run, which has all settings."""
    return (path.parent / "environment.json").is_file()


def read_text_file(path: Path, what: str) -> str:
    """The text of a small settings file; `what` describes it in error messages.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: no regular file, too large, not UTF-8, or not readable.
    """
    try:
        if not path.is_file() and path.exists() and not path.is_dir():
            raise UserError(f"{path}: a {what} is a regular file, and this is a device or a pipe.")
        if path.is_file() and path.stat().st_size > LONGEST:
            raise UserError(f"{path}: larger than {LONGEST:,} bytes, so it is no {what}.")
        return path.read_text(encoding="utf-8-sig")  # editors of Windows write a byte order mark
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save the {what} as UTF-8.") from None
    except (OSError, ValueError) as error:  # a folder, no permission, a name that no file can have
        raise UserError(f"{path}: cannot be read ({first_line(error)}).") from None


def named_values(raw: object, path: Path, expected: str, noun: str) -> dict[str, Any]:
    """The content of a settings file, which must be a mapping whose keys are names.

    Args:
        expected: what such a file is, as the start of the error: `a recipe is a mapping of sections`.
        noun: kind of thing that a key names, for errors.

    Raises:
        UserError: another content, or a key that is no text.
    """
    if not isinstance(raw, dict):
        kind = "nothing" if raw is None else f"a {type(raw).__name__}"
        raise UserError(f"{path}: {expected}; the file holds {kind}.")
    strange = next((key for key in raw if not isinstance(key, str)), None)
    if strange is not None:
        raise UserError(f"{path}: {strange!r} is no name of {noun}.")
    return raw


def _instead(path: Path, names: Mapping[str, str]) -> str:
    """The recipe that was perhaps meant: a file in the same folder or one of the names; else all names."""
    try:
        files = [str(file) for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")]
    except OSError:
        files = []
    name = path.with_suffix("").as_posix().removeprefix("recipes/")
    close = [name] if name in names else difflib.get_close_matches(str(path), [*files, *names], n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"give the path of a YAML file, or one of these names: {', '.join(names)}"
