"""Reward for the length of completions, less penalties for repetition and for very short answers.

An upper limit alone can be met by a fragment, and a lower limit alone by repetition; both occurred in the
runs of the study. Therefore both have a penalty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from boresight.core.errors import UserError
from boresight.tasks.constraints.constraint import FEWEST_WORDS, words
from boresight.tasks.text.parts import without_thought

Fewest = Annotated[
    int,
    Field(ge=0, description="Smallest number of units with reward 1; half as many or fewer are very short."),
]
Most = Annotated[
    int | None, Field(ge=1, description="Largest number of units with reward 1; twice as many give 0.")
]
CountedUnit = Annotated[
    Literal["words", "characters"],
    Field(description="Unit of length; characters for languages without spaces between words."),
]
Penalty = Annotated[
    float, Field(ge=0, le=10, description="Penalty, multiplied by the share of the answer that is repeated.")
]
ShortPenalty = Annotated[float, Field(ge=0, le=10, description="Penalty for a very short answer.")]

RUN = 3
"""Number of successive words that are a repetition if they occur again; for characters, the number is 12."""
RUN_CHARACTERS = 12
_STUCK = re.compile(r"(\S)\1{19}")
"""Pattern of twenty equal characters in succession, as in degenerate decoding."""


def length_score(
    prompts: Sequence[Any],
    completions: Sequence[str],
    rows: Sequence[Any],
    *,
    fewest: Fewest = FEWEST_WORDS,
    most: Most = None,
    unit: CountedUnit = "words",
    repetition: Penalty = 1.0,
    very_short: ShortPenalty = 1.0,
) -> list[float]:
    """1 from `fewest` to `most` units, falling to 0 outside, less the penalties. Reasoning is ignored.

    Raises:
        UserError: `most` is less than `fewest`.
    """
    if most is not None and most < fewest:
        raise UserError(f"reward length: options.most is {most}, less than options.fewest, {fewest}.")

    def earned(completion: str) -> float:
        text = without_thought(completion)
        units = words(text) if unit == "words" else [c for c in text if not c.isspace()]
        n = len(units)
        near = min(1.0, n / fewest if fewest else 1.0, max(0.0, 2 - n / most) if most else 1.0)
        short = very_short if 2 * n <= fewest and fewest else 0.0
        run = RUN if unit == "words" else RUN_CHARACTERS
        return near - short - repetition * repeated_share(units, run, text)

    return [earned(completion) for completion in completions]


def repeated_share(units: Sequence[str], run: int, text: str) -> float:
    """Return the share of runs of units that occurred before, ignoring case.

    1 for a text with one character repeated many times.

    >>> repeated_share("tea is warm tea is warm".split(), 3, "")
    0.25

    Args:
        units: words or characters of the text.
        run: number of units in a run.
        text: the whole text.
    """
    if _STUCK.search(text):
        return 1.0
    folded = [unit.casefold() for unit in units]
    runs = [tuple(folded[i : i + run]) for i in range(len(folded) - run + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
