"""Read from a run folder which held-out rows share a prompt."""

from __future__ import annotations

from pathlib import Path

from boresight.core.files import read_state
from boresight.stats.paired import SamePrompts


def same_prompts_of(run: Path) -> SamePrompts | None:
    """Return the duplicate prompts of an evaluated run, or None if its folder does not store them."""
    file = run / "evaluation.json"
    return SamePrompts.read(read_state(file)) if file.is_file() else None
