"""Hints for a key that a recipe does not have: its name here, its section, or the nearest key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel

from boresight.config.synonyms import SYNONYMS
from boresight.core.did_you_mean import nearest

CLOSE = 0.75
"""Similarity above which a key counts as misspelled (`difflib`); a less similar one is another key."""
MANY = 3
"""Number of keys of another trainer above which a file counts as a config of that trainer."""
SUGGESTED = 3
"""Largest number of sections that a hint names for one key."""


@dataclass(frozen=True)
class KnownKeys:
    """Dotted keys of a recipe.

    Args:
        keys: all of them; those of sections with a `name` for the name that the recipe gives.
        chosen: name and settings of each such section.
        unchosen: such sections where the recipe gives no valid name.
    """

    keys: Sequence[str]
    chosen: Mapping[str, tuple[str, Sequence[str]]]
    unchosen: Sequence[str] = ()

    def have(self, key: str) -> bool:
        """Whether there is such a key, or may be."""
        return key in self.keys or key.partition(".")[0] in self.unchosen


def dotted_fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted keys of a section and of the sections in it, including those that may be null."""
    for name, info in model.model_fields.items():
        yield f"{prefix}{name}"
        if (section := section_in(info.annotation)) is not None:
            yield from dotted_fields(section, f"{prefix}{name}.")


def section_in(annotation: object) -> type[BaseModel] | None:
    """The section that a field of this type holds; None if it holds none, or a list or mapping of them."""
    options = [annotation, *get_args(annotation)] if not _is_container(annotation) else []
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def _is_container(annotation: object) -> bool:
    return getattr(annotation, "__origin__", None) in (list, dict, tuple)


def hint_for(field: str, own: Sequence[str], known: KnownKeys) -> str:
    """The end of the sentence `unknown key train.lr; did you mean 'optim.lr'?`.

    Args:
        field: the unknown key, dotted.
        own: keys of the section that it is in.
        known: all keys of the recipe.
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
    return nearest(key, own)


def _settings_in_words(section: str, name: str, settings: Sequence[str]) -> str:
    """`ipo has method.tau and method.reduction`."""
    if not settings:
        return f"{name} has no settings"
    *others, last = [f"{section}.{setting}" for setting in settings]
    return f"{name} has {', '.join(others)} and {last}" if others else f"{name} has {last}"


def is_config_of_trl(unknown: Sequence[str]) -> bool:
    """Whether a file with these unknown keys is a config of another trainer."""
    return sum(key in SYNONYMS for key in unknown) >= MANY
