"""Duplicate prompts among the held-out rows of a run of an experiment."""

from __future__ import annotations

from pathlib import Path

from boresight.core.files import read_state
from boresight.stats.paired import SamePrompts


def same_prompts_of(run: Path) -> SamePrompts | None:
    """Duplicate prompts of an evaluated run; None where its folder does not store them."""
    file = run / "evaluation.json"
    return SamePrompts.read(read_state(file)) if file.is_file() else None
