"""Read and write `ramp.json`: the ramp from which a run's learning rate was chosen or forecast."""

from __future__ import annotations

from pathlib import Path

from boresight.checks.forecast.ramp import Ramp
from boresight.core.errors import UserError
from boresight.core.files import read_state, write_state

FILE = "ramp.json"
"""Name of the file in the run folder."""


def read_ramp(run: Path) -> Ramp | None:
    """Return the ramp stored in a run folder; None if there is none.

    Raises:
        UserError: the file was edited, or does not contain a ramp.
    """
    file = run / FILE
    if not file.is_file():
        return None
    kept = read_state(file)
    try:
        return Ramp.from_dict(kept)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise UserError(f"{file}: it holds no learning-rate ramp; delete it.") from None


def write_ramp(run: Path, ramp: Ramp) -> None:
    """Write the ramp to the run folder."""
    write_state(run / FILE, ramp.as_dict())
