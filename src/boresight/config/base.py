"""The base of all recipes: read YAML, apply overrides, check, and write the resolved recipe.

    recipe = Recipe.load("recipes/dpo.yaml", ["method.beta=0.1", "optim.lr=2e-6"])

A wrong key or value is a `UserError` that names the file, the field and the way out.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from boresight.config.choice import Registry, read_choice, write_choice
from boresight.config.dotted import apply_override, as_yaml
from boresight.config.section import Section, refuse_unknown_keys, validate
from boresight.config.yaml_text import read_yaml
from boresight.core.errors import UserError, first_line

LONGEST = 10**6
"""Bytes of a recipe; YAML takes about 20 s for as many."""


class BaseRecipe(Section):
    """A recipe of any kind. Every field carries its docstring, which `--help` prints."""

    CHOICES: ClassVar[Mapping[str, Registry[Any]]] = {}
    """Sections with a `name` and the settings of what it names, each with the registry of its names."""

    @classmethod
    def load(cls, path: str | Path, overrides: list[str] | None = None) -> Self:
        """Read a recipe, apply `section.key=value` overrides, and check everything.

        Raises:
            UserError: missing file, invalid YAML, unknown key or name, value of the wrong type.
        """
        return cls.parse(cls.read(path, overrides), str(path))

    @classmethod
    def read(cls, path: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
        """A recipe as nested dictionaries, with overrides applied and nothing checked."""
        raw = _read_file(Path(path))
        for override in overrides or []:
            apply_override(raw, override)
        return raw

    @classmethod
    def parse(cls, raw: dict[str, Any], source: str = "recipe") -> Self:
        """Check a recipe given as nested dictionaries; errors name `source`."""
        refuse_unknown_keys(cls, raw, source)  # first, as a recipe of another trainer lacks every section too
        chosen = {
            section: read_choice(registry, raw.get(section), source, section)
            for section, registry in cls.CHOICES.items()
            if raw.get(section) is not None or cls.model_fields[section].is_required()
        }
        return validate(cls, {**raw, **chosen}, source)

    def changed(self, overrides: list[str]) -> Self:
        """The recipe with `section.key=value` overrides, checked again."""
        raw = self.to_dict()
        for override in overrides:
            apply_override(raw, override)
        return self.parse(raw)

    def to_dict(self) -> dict[str, Any]:
        """The resolved recipe as nested dictionaries, defaults included, which `parse` reads back."""
        dump = self.model_dump(mode="json")
        for section, registry in self.CHOICES.items():
            if dump[section] is not None:
                dump[section] = write_choice(registry, getattr(self, section))
        return dump

    def to_yaml(self) -> str:
        """The resolved recipe as YAML."""
        return as_yaml(self.to_dict())


def _read_file(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() and path.exists() and not path.is_dir():
            raise UserError(f"{path}: a recipe is a regular file, and this is a device or a pipe.")
        if path.is_file() and path.stat().st_size > LONGEST:
            raise UserError(f"{path}: larger than {LONGEST:,} bytes, so it is no recipe.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such recipe{_beside(path)}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save the recipe as UTF-8.") from None
    except (OSError, ValueError) as error:  # a folder, no permission, a name that no file can have
        raise UserError(f"{path}: cannot be read ({first_line(error)}).") from None
    raw = read_yaml(text, str(path))
    if not isinstance(raw, dict):
        kind = "nothing" if raw is None else f"a {type(raw).__name__}"
        raise UserError(f"{path}: a recipe is a mapping of sections such as `model:`; the file holds {kind}.")
    strange = next((key for key in raw if not isinstance(key, str)), None)
    if strange is not None:
        raise UserError(f"{path}: {strange!r} is no name of a section.")
    return raw


def _beside(path: Path) -> str:
    """The recipe in the same folder whose name is nearest."""
    try:
        names = [file.name for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")]
    except OSError:
        names = []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close else "; give the path of a YAML file"
