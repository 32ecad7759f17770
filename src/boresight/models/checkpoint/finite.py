"""Detect weights that contain NaN or infinity, which load without an error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from boresight.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def refuse_not_finite(parameters: Iterable[tuple[str, Tensor]], name: str) -> None:
    """Raise a `UserError` for the first parameter of the model or adapter `name` that is not finite."""
    for key, weight in parameters:
        # A finite sum needs no memory and proves finite entries; only another one is examined entry by entry.
        if not weight.is_meta and not weight.sum().isfinite() and not weight.isfinite().all():
            raise UserError(
                f"model: the weights of {name!r} contain NaN or infinity ({key}); take an earlier checkpoint "
                "or another copy."
            )
