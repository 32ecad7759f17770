"""Place the numbers of findings above a plot, in several rows so that no label covers another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NARROWEST = 230
"""Width in pixels of a plot on a phone, for which labels are placed; wider plots separate them more."""
CHARACTER, PADDING = 6.5, 9
"""Width of a digit, and of the space around the text of a label, in pixels."""


@dataclass(frozen=True)
class FindingLabel:
    """Text of one label, its position from 0 (left) to 1 (right), its row and its width in pixels."""

    text: str
    at: float
    row: int
    width: float


def finding_labels(places: Mapping[float, Sequence[int]]) -> list[FindingLabel]:
    """Return the labels for findings at the positions `places`, which are between 0 and 1.

    Findings at the same position share a label. Each label is put into the first row in which it does not
    overlap the labels to its left.
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
