"""Published settings that are nearest to a recipe."""

from __future__ import annotations

import math

from boresight import methods
from boresight.methods.published import PUBLISHED, Published
from boresight.training.forward import INPUT_KINDS

USUAL_SIZE = 494_032_768
"""Parameters of Qwen2.5-0.5B, for a model of unknown size."""


def nearest_published(method: str, parameters: int | None, count: int = 2) -> list[Published]:
    """Published settings for the models nearest in size: of the method or, if it has none, of methods on the
    same kind of data."""
    candidates = PUBLISHED.get(method) or _of_kind(data_of(method))
    size = math.log(parameters or USUAL_SIZE)
    return sorted(candidates, key=lambda setting: abs(math.log(setting.parameters) - size))[:count]


def _of_kind(data: str) -> list[Published]:
    return [setting for name, own in PUBLISHED.items() if data_of(name) == data for setting in own]


def data_of(method: str) -> str:
    """The kind of data that a method is trained on."""
    return INPUT_KINDS[methods.get(method).Input].data
