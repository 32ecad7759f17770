"""Reward for the length of completions, less penalties for repetition and very short answers.

An upper limit alone is met by a fragment, and a lower limit alone by repetition; both occurred in the runs of
the study. So both have a penalty here.
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
"""Words in a row that count as repeated when they occur again; with characters, 12 of them."""
RUN_CHARACTERS = 12
_STUCK = re.compile(r"(\S)\1{19}")
"""Twenty equal characters in a row: decoding got stuck."""


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
    """Share of runs of units that occurred before, case aside; 1 for a text with one character repeated many
    times.

    >>> repeated_share("tea is warm tea is warm".split(), 3, "")
    0.25
    """
    if _STUCK.search(text):
        return 1.0
    folded = [unit.casefold() for unit in units]
    runs = [tuple(folded[i : i + run]) for i in range(len(folded) - run + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
