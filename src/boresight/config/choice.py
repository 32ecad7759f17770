"""Read and write sections whose `name` selects their other settings: `{name: dpo, beta: 0.1}`."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from boresight.config.refusals.unknown_key import CLOSE
from boresight.config.section import UnknownKey, WrongSetting, shortened, validate
from boresight.core.errors import UserError

C = TypeVar("C", bound=BaseModel)
Settings = TypeVar("Settings", bound=BaseModel, covariant=True)


class NamedChoice(Protocol[Settings]):
    """A choice with settings, such as a method or a judge."""

    @property
    def Config(self) -> type[Settings]:
        """Class of the settings of the choice."""
        ...


class Registry(Protocol[Settings]):
    """Choices by name, such as the packages `boresight.methods` and `scorers.judges`."""

    def names(self) -> list[str]:
        """Return the names of all choices, sorted."""
        ...

    def get(self, name: str, /) -> NamedChoice[Settings]:
        """Return the choice with this name. Raises `UserError` if there is none."""
        ...

    def name_of(self, config: Any, /) -> str:
        """Return the name of the choice that these settings belong to."""
        ...


def read_choice(registry: Registry[C], section: object, source: str, field: str) -> C:
    """Read the settings of the choice that `section` names, validated by its `Config`.

    Raises:
        UserError: the name is missing or unknown, or a setting is wrong; the message names `source` and the
            field.
    """
    if isinstance(section, str):  # `method: dpo` for `method: {name: dpo}`
        section = {"name": section}
    if not isinstance(section, Mapping) or "name" not in section:
        given = [str(key) for key in section] if isinstance(section, Mapping) else []
        if misspelled := get_close_matches("name", given, n=1, cutoff=CLOSE):
            raise UnknownKey(source, f"{field}.{misspelled[0]}", ["name"])
        known = ", ".join(registry.names())
        raise WrongSetting(source, f"{field}.name is missing; set it to one of {known}.", field)
    if not isinstance(section["name"], str):
        wrong = shortened(section["name"])
        raise WrongSetting(source, f"{field}.name is {wrong}: must be a name.", f"{field}.name")
    try:
        chosen = registry.get(section["name"])
    except UserError as error:
        raise WrongSetting(source, str(error), f"{field}.name") from None
    settings = {key: value for key, value in section.items() if key != "name"}
    return validate(chosen.Config, settings, source, field)


def write_choice(registry: Registry[C], config: BaseModel) -> dict[str, Any]:
    """Return the section that `read_choice` reads as `config`: the name first, then every setting."""
    return {"name": registry.name_of(config), **config.model_dump(mode="json")}
