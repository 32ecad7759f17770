"""Find the published settings that are nearest to a recipe."""

from __future__ import annotations

import math

from boresight import methods
from boresight.methods.published import PUBLISHED, Published
from boresight.training.forward import INPUT_KINDS

USUAL_SIZE = 494_032_768
"""Number of parameters of Qwen2.5-0.5B, assumed for a model of unknown size."""


def nearest_published(method: str, parameters: int | None, count: int = 2) -> list[Published]:
    """Return the `count` published settings whose models are nearest in size, nearest first.

    The settings are those of the method or, if it has none, of all methods on the same kind of data.
    """
    candidates = PUBLISHED.get(method) or _of_kind(data_of(method))
    size = math.log(parameters or USUAL_SIZE)
    return sorted(candidates, key=lambda setting: abs(math.log(setting.parameters) - size))[:count]


def _of_kind(data: str) -> list[Published]:
    return [setting for name, own in PUBLISHED.items() if data_of(name) == data for setting in own]


def data_of(method: str) -> str:
    """Return the kind of data that a method trains on."""
    return INPUT_KINDS[methods.get(method).Input].data
