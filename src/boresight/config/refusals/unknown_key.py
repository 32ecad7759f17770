"""Give a hint for an unknown key of a recipe: its name in boresight, its section, or a similar key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel

from boresight.config.synonyms import SYNONYMS
from boresight.core.did_you_mean import nearest

CLOSE = 0.75
"""Minimum similarity (`difflib`) with a known key at which a key counts as misspelled."""
MANY = 3
"""Minimum number of keys of another trainer with which a file counts as a config of that trainer."""
SUGGESTED = 3
"""Maximum number of keys that a hint suggests."""


@dataclass(frozen=True)
class KnownKeys:
    """Dotted keys that a recipe may have.

    Some sections have a `name` that selects their other settings, such as `method`.

    Args:
        keys: all dotted keys; of sections with a `name`, those for the name in the recipe.
        chosen: name and settings of each section with a valid `name`.
        unchosen: sections of this kind without a valid `name`, whose settings are unknown.
    """

    keys: Sequence[str]
    chosen: Mapping[str, tuple[str, Sequence[str]]]
    unchosen: Sequence[str] = ()

    def have(self, key: str) -> bool:
        """Whether the key exists, or may exist since its section has no valid `name`."""
        return key in self.keys or key.partition(".")[0] in self.unchosen


def dotted_fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a section and of the sections in it, including those that may be null."""
    for name, info in model.model_fields.items():
        yield f"{prefix}{name}"
        if (section := section_in(info.annotation)) is not None:
            yield from dotted_fields(section, f"{prefix}{name}.")


def section_in(annotation: object) -> type[BaseModel] | None:
    """Return the class of the section that a field of this type contains.

    The result is None for other fields, and for fields with a list or mapping of sections.
    """
    options = [annotation, *get_args(annotation)] if not _is_container(annotation) else []
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def _is_container(annotation: object) -> bool:
    return getattr(annotation, "__origin__", None) in (list, dict, tuple)


def hint_for(field: str, own: Sequence[str], known: KnownKeys) -> str:
    """Return the end of an error, as in `unknown key train.lr; did you mean 'optim.lr'?`.

    Args:
        field: the unknown key, dotted.
        own: known keys of the section that contains it.
        known: all known keys of the recipe.
    """
    section, _, key = field.rpartition(".")
    synonym = SYNONYMS.get(key, "")
    target = synonym.partition(" ")[0].partition("=")[0]
    if synonym and known.have(target):
        return f"; here it is called {synonym}"
    elsewhere = [name for name in known.keys if name.rpartition(".")[2] == key]
    if elsewhere:
        return f"; did you mean {' or '.join(map(repr, elsewhere[:SUGGESTED]))}?"
    choice = section if section in known.chosen else target.partition(".")[0]
    if choice in known.chosen and not difflib.get_close_matches(key, own, n=1, cutoff=CLOSE):
        return f"; {_settings_in_words(choice, *known.chosen[choice])}"
    return nearest(key, own, section)


def _settings_in_words(section: str, name: str, settings: Sequence[str]) -> str:
    """Describe the settings of a choice, as `ipo has method.tau and method.reduction`."""
    if not settings:
        return f"{name} has no settings"
    *others, last = [f"{section}.{setting}" for setting in settings]
    return f"{name} has {', '.join(others)} and {last}" if others else f"{name} has {last}"


def is_config_of_trl(unknown: Sequence[str]) -> bool:
    """Whether a file with these unknown keys is probably a config of another trainer, such as TRL."""
    return sum(key in SYNONYMS for key in unknown) >= MANY
