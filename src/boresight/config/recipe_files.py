"""Find and read files of recipes: those of the user by their path, those in this package by their name.

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
"""Folder of the recipes in this package. The name of a recipe is its path below it, without the suffix."""
LONGEST = 10**6
"""Maximum size of a recipe file, in bytes; YAML takes about 20 s for such a file."""
KEY = re.compile(r"^(\w+):", re.M)
"""Pattern of a key at the top level."""
SENTENCE = re.compile(r".+?[.?](?= |$)")


def recipe_path(name: str | Path) -> Path:
    """Return the file of a recipe that is given by path or name; files of the user take precedence.

    Returns the path itself if there is no such file.
    """
    path = Path(name)
    packaged = [FOLDER / f"{path}.yaml"] if not path.is_absolute() and ".." not in path.parts else []
    return next((file for file in (path, Path(f"{path}.yaml"), *packaged) if _is_there(file)), path)


def recipe_stem(path: Path) -> str:
    """Return the name of a recipe without its file extension, for the name of a run folder.

    Only `.yaml`, `.yml` and `.json` are extensions: the `.1` of `synth-v1.1` is kept.
    """
    return path.stem if path.suffix in (".yaml", ".yml", ".json") else path.name


def recipe_from(folder: Path, name: str) -> Path:
    """Return the path of a recipe that a sweep or plan in `folder` names.

    `name` is a path relative to the folder, or else a path or name as for `recipe_path`.
    """
    beside = folder / name
    return beside if _is_there(beside) else recipe_path(name)


def _is_there(path: Path) -> bool:
    """Whether `path` exists and is not a folder."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):  # no permission, a name that no file can have
        return False


def recipe_names(kind: type[BaseModel]) -> dict[str, str]:
    """Return the names of the recipes of one kind in this package, each with its first sentence.

    A recipe is of a kind if it has all sections that the kind requires.
    """
    required = {name for name, field in kind.model_fields.items() if field.is_required()}
    files = {file.relative_to(FOLDER).with_suffix("").as_posix(): file for file in FOLDER.rglob("*.yaml")}
    texts = {name: files[name].read_text(encoding="utf-8") for name in sorted(files)}
    return {name: _first_sentence(text) for name, text in texts.items() if required <= set(KEY.findall(text))}


def _first_sentence(text: str) -> str:
    """Return the first sentence of the comment at the top of a recipe."""
    lines = takewhile(lambda line: line.startswith("# "), text.split("\n"))
    comment = " ".join(line.removeprefix("# ") for line in lines)
    found = SENTENCE.match(comment)
    return found[0] if found else comment


def read_recipe_file(name: str | Path, kind: type[BaseModel]) -> dict[str, Any]:
    """Read a recipe by path or name as nested dictionaries, without validating its values.

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
    """Whether the file is the resolved recipe in the folder of a run."""
    return (path.parent / "environment.json").is_file()


def read_text_file(path: Path, what: str) -> str:
    """Read the text of a small settings file; `what` names its kind in error messages.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is no regular file, too large, not UTF-8, or not readable.
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
    """Return the content of a settings file if it is a mapping with keys of type `str`.

    Args:
        raw: the parsed content.
        expected: start of the error for another content: `a recipe is a mapping of sections`.
        noun: what a key is the name of, for errors, such as `a section`.

    Raises:
        UserError: `raw` is no mapping, or one of its keys is no text.
    """
    if not isinstance(raw, dict):
        kind = "nothing" if raw is None else f"a {type(raw).__name__}"
        raise UserError(f"{path}: {expected}; the file holds {kind}.")
    strange = next((key for key in raw if not isinstance(key, str)), None)
    if strange is not None:
        raise UserError(f"{path}: {strange!r} is no name of {noun}.")
    return raw


def _instead(path: Path, names: Mapping[str, str]) -> str:
    """Return a hint for a recipe that does not exist: a similar file or name or, without one, all names."""
    try:
        files = [str(file) for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")]
    except OSError:
        files = []
    name = path.with_suffix("").as_posix().removeprefix("recipes/")
    close = [name] if name in names else difflib.get_close_matches(str(path), [*files, *names], n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"give the path of a YAML file, or one of these names: {', '.join(names)}"
