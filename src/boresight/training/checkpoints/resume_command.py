"""Build the command that resumes a run with the recipe in its folder."""

from __future__ import annotations

import shlex
from pathlib import Path


def resume_command(run: Path, *overrides: str) -> str:
    """Return the command, such as `boresight train runs/first`, with changes to the recipe appended."""
    return " ".join(["boresight train", shlex.quote(str(run)), *overrides])
