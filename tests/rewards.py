"""Reward functions that recipes of tests name by their import path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def length(prompts: Sequence[Any], completions: Sequence[str], rows: Sequence[Any]) -> list[float]:
    """Characters of each answer, by which almost any two differ."""
    return [float(len(text)) for text in completions]


def counts_letters(prompts: Sequence[Any], completions: Sequence[str], rows: Sequence[Any]) -> list[float]:
    """Different characters of each answer, which differ even among answers of one length."""
    return [float(len(set(text))) for text in completions]
