"""`ramp.json` of a run folder: the ramp that the run was planned by."""

from __future__ import annotations

from pathlib import Path

from boresight.checks.forecast.ramp import Ramp
from boresight.core.errors import UserError
from boresight.core.files import read_state, write_state

FILE = "ramp.json"
"""In the run folder."""


def read_ramp(run: Path) -> Ramp | None:
    """The ramp that a run was planned by; None where there was none.

    Raises:
        UserError: the file was edited, or holds something else.
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
    """Keep the ramp that a run was planned by."""
    write_state(run / FILE, ramp.as_dict())
