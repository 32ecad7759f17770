"""The reward of the benchmark, one for both sides: different words, a twentieth each. It costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def different_words(prompts: Sequence[Any], completions: Sequence[str], rows: Sequence[Any]) -> list[float]:
    return [len(set(text.split())) / 20 for text in completions]
