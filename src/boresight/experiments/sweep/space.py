"""Settings of a sweep: values by dotted recipe key."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from boresight.config.dotted import flat
from boresight.config.section import Section, shortened
from boresight.core.errors import UserError

SweepSetting = dict[str, Any]
"""Value by dotted key, such as {"optim.lr": 1e-6, "method.beta": 0.1}."""


LARGEST_GRID = 100_000
"""Maximum number of points of a grid, since each point is checked as a recipe."""


class Range(Section):
    """Numbers that a search may draw."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = Field(default=False)
    """Draw on a logarithmic scale."""
    integer: bool = Field(default=False)
    """Whole numbers only."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("a range needs low < high, and low > 0 on a logarithmic scale")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(
                f"a range of whole numbers goes from {self.low:g} to {self.high:g}; give whole ones"
            )
        return self


def grid(space: Mapping[str, Any], trials: int | None, seed: int) -> list[SweepSetting]:
    """Return all combinations of the listed values, or `trials` of them drawn at random.

    The last key varies fastest.

    Raises:
        UserError: a key has a range, or there are fewer combinations than `trials` or too many.
    """
    for key, values in space.items():
        if not isinstance(values, list):
            raise UserError(f"space.{key}: a grid needs a list of values; ranges need search: optuna.")
    count = math.prod(map(len, space.values()))
    if count > LARGEST_GRID:
        raise UserError(
            f"space: the grid has {count:,} points, more than {LARGEST_GRID:,}; list fewer values."
        )
    points = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    if trials is None:
        return points
    if trials > len(points):
        raise UserError(f"trials: the grid has {len(points)} points, fewer than {trials}; leave trials out.")
    chosen = np.random.default_rng(seed).permutation(len(points))[:trials]
    return [points[index] for index in sorted(chosen)]


def refuse_empty_or_repeated(space: Mapping[str, Any], settings: Sequence[SweepSetting]) -> None:
    """Raise a `ValueError` for an empty list, or for a value or setting that is listed twice.

    A repeated one would count as two settings.
    """
    for key, values in space.items():
        if values == []:
            raise ValueError(f"space.{key} is an empty list; give its values, or leave the key out")
        if isinstance(values, list) and (value := _repeated(values)) is not None:
            raise ValueError(f"space.{key} lists {value} twice; keep one of them")
    if (setting := _repeated(settings)) is not None:
        raise ValueError(f"settings lists {setting} twice; keep one of them, and give seeds to repeat it")


def _repeated(values: Sequence[Any]) -> str | None:
    """Return the first value that occurs twice, as text, or None. 1 and True are different values."""
    said = [repr(value) for value in values]
    return next((shortened(values[n]) for n, one in enumerate(said) if one in said[:n]), None)


def setting_of(tree: object, field: str = "a setting") -> SweepSetting:
    """Convert nested sections to values by dotted key. Ranges (mappings with `low`) and empty mappings are
    values.

    Raises:
        UserError: `tree` is not a mapping; the message names `field`.
    """
    if not isinstance(tree, Mapping):
        raise UserError(f"{field} is {shortened(tree)}: must map keys of a recipe to values.")
    return {key: as_number(value) for key, value in flat(tree, is_value=_is_value).items()}


def _is_value(mapping: Mapping[str, Any]) -> bool:
    return not mapping or "low" in mapping


def keys_within(changes: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys that changes set: `train.seed` for the key `train` with the value `{seed: 1}`.

    A list of values is searched value by value.
    """
    listed = {key: value if isinstance(value, list) else [value] for key, value in changes.items()}
    found = (name for key, values in listed.items() for each in values for name in flat({key: each}))
    return list(dict.fromkeys(found))


def as_number(value: object) -> object:
    """Convert text such as `1e-7` to a number, since YAML reads only `1.0e-7` as one.

    Other values are returned unchanged.
    """
    if isinstance(value, list):
        return [as_number(item) for item in value]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def setting_in_words(setting: SweepSetting | None) -> str:
    """Describe a setting in words, as `lr 1e-06, beta 0.1`; None is the default."""
    if setting is None:
        return "the default"
    return ", ".join(f"{short_key(key)} {value_in_words(value)}" for key, value in setting.items())


def short_key(key: str) -> str:
    """Return the last part of a dotted key."""
    return key.rsplit(".", 1)[-1]


def value_in_words(value: object) -> str:
    """Format a value: floats with four significant digits, others as they are."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
