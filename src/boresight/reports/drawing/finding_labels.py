"""Numbers of findings above a plot, in as many rows as it takes for none to cover another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NARROWEST = 230
"""Pixels across the plot on a phone; a wider plot only moves labels apart."""
CHARACTER, PADDING = 6.5, 9
"""Pixels of a digit, and of the space around a label."""


@dataclass(frozen=True)
class FindingLabel:
    """Text of one label, its place between 0 and 1, its row from the top and its width in pixels."""

    text: str
    at: float
    row: int
    width: float


def finding_labels(places: Mapping[float, Sequence[int]]) -> list[FindingLabel]:
    """Labels for findings by their place between 0 and 1; findings of one place share a label.

    Each label takes the first row in which it stands clear of the labels before it.
    """
    ends: list[float] = []
    labels = []
    for at, numbers in sorted(places.items()):
        text = ", ".join(map(str, numbers))
        width = CHARACTER * len(text) + PADDING
        left = at * NARROWEST - width / 2
        row = next((row for row, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [left + width + 2]
        labels.append(FindingLabel(text, at, row, width))
    return labels
