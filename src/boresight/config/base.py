"""The base of all recipes: read YAML, apply overrides, check, and write the resolved recipe.

    recipe = Recipe.load("dpo", ["method.beta=0.1", "optim.lr=2e-6"])

A wrong key or value is a `UserError` that names the file, the field and the way out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from boresight.config.choice import Registry, read_choice, write_choice
from boresight.config.dotted import (
    apply_override,
    as_yaml,
    names_an_override,
    override_values,
    remove_excluded,
)
from boresight.config.recipe_files import read_recipe_file
from boresight.config.section import Section, WrongSetting, refuse_unknown_keys, validate
from boresight.config.synonyms import with_current_names
from boresight.core.errors import UserError


class BaseRecipe(Section):
    """A recipe of any kind. Every field carries its docstring, which `--help` prints."""

    CHOICES: ClassVar[Mapping[str, Registry[Any]]] = {}
    """Sections of the form `{name: …, other settings}`, each with the registry of its names."""

    EITHER: ClassVar[Sequence[tuple[str, str]]] = ()
    """Pairs of dotted keys of which a recipe sets one at most."""

    @classmethod
    def load(cls, path: str | Path, overrides: list[str] | None = None) -> Self:
        """Read a recipe by path or name, apply `section.key=value` overrides, and check everything.

        Raises:
            UserError: missing file, invalid YAML, unknown key or name, value of the wrong type. It names the
                file, or the command line where an override is wrong.
        """
        try:
            return cls.parse(cls.read(path, overrides), str(path))
        except WrongSetting as wrong:
            if names_an_override(wrong.field, wrong.sentence, overrides or []):
                raise UserError(f"command line: {wrong.sentence}") from None
            raise

    @classmethod
    def read(cls, path: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
        """A recipe as nested dictionaries, with overrides applied and nothing checked.

        An override replaces the setting of the file that it excludes (`EITHER`).
        """
        raw = with_current_names(read_recipe_file(path, cls), str(path))
        remove_excluded(raw, override_values(overrides or []), cls.EITHER)
        for override in overrides or []:
            apply_override(raw, override)
        return raw

    @classmethod
    def replaced(cls, path: str | Path, overrides: list[str] | None) -> list[str]:
        """A line for each setting of a file that an override excludes: `train.steps=4 replaces …`."""
        raw = with_current_names(read_recipe_file(path, cls), str(path))
        lines = remove_excluded(raw, override_values(overrides or []), cls.EITHER)
        return [f"{line} of {path}" for line in lines]

    @classmethod
    def parse(cls, raw: dict[str, Any], source: str = "recipe") -> Self:
        """Check a recipe given as nested dictionaries; errors name `source`."""
        raw = with_current_names(raw, source)
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

    @classmethod
    def completed(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """A resolved recipe of an earlier version with fields that were added later set to their defaults.

        Values that this version cannot read are returned unchanged.
        """
        try:
            return cls.parse(raw).to_dict()
        except UserError:
            return raw

    def to_yaml(self) -> str:
        """The resolved recipe as YAML."""
        return as_yaml(self.to_dict())
