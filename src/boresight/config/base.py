"""The base of all recipes: read YAML, apply overrides, check, and write the resolved recipe.

    recipe = Recipe.load("recipes/dpo.yaml", ["method.beta=0.1", "optim.lr=2e-6"])

A wrong key or value is a `UserError` that names the file, the field and the way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml

from boresight.config.choice import Registry, read_choice, write_choice
from boresight.config.dotted import apply_override, as_yaml
from boresight.config.section import Section, validate
from boresight.core.errors import UserError


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
        raw = _read_yaml(Path(path))
        for override in overrides or []:
            apply_override(raw, override)
        return raw

    @classmethod
    def parse(cls, raw: dict[str, Any], source: str = "recipe") -> Self:
        """Check a recipe given as nested dictionaries; errors name `source`."""
        chosen = {
            section: read_choice(registry, raw.get(section), source, section)
            for section, registry in cls.CHOICES.items()
            if raw.get(section) is not None or cls.model_fields[section].is_required()
        }
        return validate(cls, {**raw, **chosen}, source)

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


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path}: there is no such recipe; give the path of a YAML file.")
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _RecipeLoader)
    except _RepeatedKey as error:
        raise UserError(f"{path}: {error}; keep one of them.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: not valid YAML{where}; fix the syntax there.") from None
    if not isinstance(raw, dict):
        kind = "nothing" if raw is None else f"a {type(raw).__name__}"
        raise UserError(f"{path}: a recipe is a mapping of sections such as `model:`; the file holds {kind}.")
    return raw


class _RepeatedKey(Exception):
    """A mapping has a key twice."""


class _RecipeLoader(yaml.SafeLoader):
    """The safe loader, but a key that stands twice is refused: YAML keeps the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.value in first and key.value != "<<":
                raise _RepeatedKey(f"{key.value} stands in line {first[key.value]} and again in line {line}")
            first[str(key.value)] = line
        return super().construct_mapping(node, deep)
