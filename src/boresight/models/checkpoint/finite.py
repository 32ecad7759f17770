"""Detect weights that contain NaN or infinity: such weights can be loaded without an error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from boresight.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def refuse_not_finite(parameters: Iterable[tuple[str, Tensor]], name: str) -> None:
    """Raise a `UserError` if a parameter contains NaN or infinity.

    Args:
        parameters: names and values of parameters; those on the `meta` device are skipped.
        name: name of the model or adapter, for the error.
    """
    for key, weight in parameters:
        # A finite sum implies finite entries and needs no memory; otherwise every entry is checked.
        if not weight.is_meta and not weight.sum().isfinite() and not weight.isfinite().all():
            raise UserError(
                f"model: the weights of {name!r} contain NaN or infinity ({key}); take an earlier checkpoint "
                "or another copy."
            )
