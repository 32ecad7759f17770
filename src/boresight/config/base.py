"""Base class of all recipes: read YAML, apply overrides, validate, and write the resolved recipe.

    recipe = Recipe.load("dpo", ["method.beta=0.1", "optim.lr=2e-6"])

A wrong key or value raises a `UserError` that names the file, the field and a fix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from boresight.config.choice import Registry, read_choice, write_choice
from boresight.config.dotted import (
    added_sections,
    apply_override,
    as_yaml,
    names_an_override,
    override_values,
    refuse_repeated,
    remove_excluded,
)
from boresight.config.recipe_files import is_of_a_run, read_recipe_file
from boresight.config.refusals.unknown_key import KnownKeys, dotted_fields, hint_for, is_config_of_trl
from boresight.config.section import Section, UnknownKey, WrongSetting, validate
from boresight.config.synonyms import with_current_names
from boresight.core.errors import UserError


class BaseRecipe(Section):
    """Base class of recipes of any kind. `--help` prints the docstring of every field."""

    CHOICES: ClassVar[Mapping[str, Registry[Any]]] = {}
    """Sections of the form `{name: …, other settings}`, each with the registry of its names."""

    EITHER: ClassVar[Sequence[tuple[str, str]]] = ()
    """Pairs of dotted keys of which a recipe may set at most one."""

    @classmethod
    def load(cls, path: str | Path, overrides: list[str] | None = None) -> Self:
        """Read a recipe by path or name, apply `section.key=value` overrides, and check everything.

        Raises:
            UserError: missing file, invalid YAML, unknown key or name, value of the wrong type, and, except
                in the recipe of a run folder, a setting without effect. The message names the file or, if an
                override is wrong, the command line.
        """
        with cls.naming_overrides(path, overrides or []):
            recipe = cls.parse(cls.read(path, overrides), str(path))
            recipe.refuse_without_effect(str(path))
        return recipe

    @classmethod
    def of_run(cls, path: Path) -> Self:
        """Read the resolved recipe of a run. Settings without effect are accepted, since the run has them.

        Raises:
            UserError: as for `load`, except for settings without effect.
        """
        return cls.parse(cls.read(path), str(path))

    @classmethod
    @contextmanager
    def naming_overrides(cls, path: str | Path, overrides: Sequence[str]) -> Iterator[None]:
        """Let errors inside the block that are due to an override name the command line instead of the
        file."""
        try:
            yield
        except WrongSetting as wrong:
            added = added_sections(overrides, cls.read(path)) if overrides else set()
            by_override = names_an_override(wrong.field, wrong.sentence, overrides) or (
                wrong.field in added
                if isinstance(wrong, UnknownKey)
                else not wrong.field and not added.isdisjoint(wrong.sentence.replace(",", "").split())
            )
            if by_override:
                raise UserError(f"command line: {wrong.sentence}") from None
            raise

    @classmethod
    def read(cls, path: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
        """Read a recipe as nested dictionaries, with overrides applied, without validating it.

        If an override and a setting of the file exclude each other (`EITHER`), the override replaces it.
        """
        refuse_repeated(overrides or [])
        raw = with_current_names(read_recipe_file(path, cls), str(path))
        remove_excluded(raw, override_values(overrides or []), cls.EITHER)
        for override in overrides or []:
            apply_override(raw, override)
        return raw

    @classmethod
    def replaced(cls, path: str | Path, overrides: list[str] | None) -> list[str]:
        """Return a line for each setting of a file that an override excludes: `train.steps=4 replaces …`."""
        raw = with_current_names(read_recipe_file(path, cls), str(path))
        lines = remove_excluded(raw, override_values(overrides or []), cls.EITHER)
        return [f"{line} of {path}" for line in lines]

    @classmethod
    def parse(cls, raw: dict[str, Any], source: str = "recipe") -> Self:
        """Validate a recipe given as nested dictionaries; errors name `source`."""
        raw = with_current_names(raw, source)
        try:
            return cls._checked(raw, source)
        except UnknownKey as wrong:
            raise UnknownKey(source, wrong.field, wrong.own, cls._hint(wrong, raw)) from None

    @classmethod
    def _checked(cls, raw: dict[str, Any], source: str) -> Self:
        unknown = [key for key in raw if key not in cls.model_fields]
        if unknown:  # first, as a recipe of another trainer lacks every section too
            raise UnknownKey(source, unknown[0], list(cls.model_fields))
        chosen = {
            section: read_choice(registry, raw.get(section), source, section)
            for section, registry in cls.CHOICES.items()
            if raw.get(section) is not None or cls.model_fields[section].is_required()
        }
        return validate(cls, {**raw, **chosen}, source)

    @classmethod
    def _hint(cls, wrong: UnknownKey, raw: Mapping[str, Any]) -> str:
        """Return a hint for an unknown key, from all keys of a recipe with the choices in `raw`."""
        text = hint_for(wrong.field, wrong.own, cls._known_keys(raw))
        if wrong.field in raw and is_config_of_trl([key for key in raw if key not in cls.model_fields]):
            return f"{text} (a config of TRL: boresight convert trl-config FILE)"
        return text

    @classmethod
    def _known_keys(cls, raw: Mapping[str, Any]) -> KnownKeys:
        chosen: dict[str, tuple[str, list[str]]] = {}
        for section, registry in cls.CHOICES.items():
            given = raw.get(section)
            name = given.get("name") if isinstance(given, Mapping) else given
            try:
                chosen[section] = str(name), list(registry.get(str(name)).Config.model_fields)
            except UserError:  # no name, or an unknown one
                continue
        keys = [*dotted_fields(cls), *(f"{section}.name" for section in cls.CHOICES)]
        keys += [f"{section}.{key}" for section, (_, settings) in chosen.items() for key in settings]
        return KnownKeys(keys, chosen, [section for section in cls.CHOICES if section not in chosen])

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect beside the others, each with the sentence for its error."""
        return {}

    def refuse_without_effect(self, source: str) -> None:
        """Raise a `UserError` for the first setting without effect.

        The recipe in the folder of a run may have some, since the run may have been started by a version that
        accepted them.
        """
        if is_of_a_run(Path(source)):
            return
        for field, sentence in self.without_effect().items():
            raise WrongSetting(source, f"{sentence}.", field)

    def changed(self, overrides: list[str]) -> Self:
        """Return the recipe with `section.key=value` overrides applied, validated again."""
        raw = self.to_dict()
        for override in overrides:
            apply_override(raw, override)
        return self.parse(raw)

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved recipe, with defaults, as nested dictionaries that `parse` can read."""
        dump = self.model_dump(mode="json")
        for section, registry in self.CHOICES.items():
            if dump[section] is not None:
                dump[section] = write_choice(registry, getattr(self, section))
        return dump

    @classmethod
    def completed(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Complete a resolved recipe of an earlier version: add later fields with their defaults.

        A recipe that this version cannot read is returned unchanged.
        """
        try:
            return cls.parse(raw).to_dict()
        except UserError:
            return raw

    def to_yaml(self) -> str:
        """Return the resolved recipe as YAML."""
        return as_yaml(self.to_dict())
