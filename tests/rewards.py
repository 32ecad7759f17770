"""Reward functions that recipes of tests name by their import path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def length(prompts: Sequence[Any], completions: Sequence[str], rows: Sequence[Any]) -> list[float]:
    """Characters of each answer, by which almost any two differ."""
    return [float(len(text)) for text in completions]
