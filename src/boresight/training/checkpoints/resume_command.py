"""The command that resumes a run by the recipe in its folder."""

from __future__ import annotations

import shlex
from pathlib import Path


def resume_command(run: Path, *overrides: str) -> str:
    """`boresight train runs/first`, with changes to the recipe in the folder."""
    return " ".join(["boresight train", shlex.quote(str(run)), *overrides])
