"""Layout of recorded verdicts: a prompt, two answers, and which answer one rater or several prefer.

    {"prompt": …, "completion_a": …, "completion_b": …, "preference": 0.8}
    {"prompt": …, "answer_a": …, "answer_b": …, "winner": "a"}
    {"prompt": …, "response_a": …, "response_b": …, "votes": {"a": 3, "b": 1, "tie": 1}}

A preference is the share of the first answer: 1 if a is better, 0.5 for a tie, 0 if b is better. `votes` are
numbers of raters, or a list of their verdicts. As a preference pair, the answer with the larger share is the
chosen one, and the shares are the scores; a tie is a malformed row. The judge `recorded` reads the same
files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from boresight.core.schema import Message, Preference
from boresight.data.build import assistant, preference, user
from boresight.data.columns import Record, finite_number, first, from_json, has_text, has_turns, text
from boresight.data.reading import names
from boresight.data.reading.turns import BadField, to_messages

TITLE = "verdicts on two answers"
KIND = "preference"
COLUMNS = ("prompt", "completion_a", "completion_b")
VERDICTS = ("votes", "preference", "preferred", "winner")
"""Columns that may contain the verdict, in order of preference."""

FIRST, SECOND, TIE = 1.0, 0.0, 0.5
WORDS = {
    **dict.fromkeys(["a", "model_a", *(pair[0] for pair in names.COMPARED)], FIRST),
    **dict.fromkeys(["b", "model_b", *(pair[1] for pair in names.COMPARED)], SECOND),
    **dict.fromkeys(["tie", "both_bad", "tie (bothbad)"], TIE),
}
"""Preference by its spelling in public data sets, in lower case."""
MOST_VOTES = 1_000_000
"""Maximum number of votes on one pair; a larger number is an error in the file."""

DIGITS = 12
"""Number of decimals to which a preference is rounded, so that 1 - 0.8 equals 0.2."""

Ratings = Counter[float]
"""Number of raters per preference, which is in [0, 1]."""


def matches(record: Record) -> bool:
    asked = first(record, names.PROMPT) is not None or has_turns(record, COLUMNS[0])
    two_answers = any(has_text(record, *pair) for pair in names.COMPARED)
    return asked and two_answers and any(column in record for column in VERDICTS)


def read(record: Record, id: str) -> Preference:
    column, prompt = read_prompt(record)
    answers = compared_columns(record)
    a, b = ([assistant(text(record, name))] for name in answers)
    share = mean_rating(read_ratings(record))
    if share == TIE:
        raise BadField(_given(record)[0], "is a tie, so that neither answer is the better one")
    chosen, rejected = (a, b) if share > TIE else (b, a)
    scored = {names.SCORES[0][0]: max(share, 1 - share), names.SCORES[0][1]: min(share, 1 - share)}
    return preference({**scored, **record}, id, (prompt, chosen, rejected), (column, *answers), VERDICTS)


def read_prompt(record: Record) -> tuple[str, list[Message]]:
    """Return the column of the prompt and its messages.

    Raises:
        BadField: the prompt is missing or cannot be read.
    """
    column = first(record, names.PROMPT)
    if column is None:
        return COLUMNS[0], to_messages(record.get(COLUMNS[0]), COLUMNS[0])
    return column, [user(text(record, column))]


def compared_columns(record: Record) -> tuple[str, str]:
    """Return the columns of the two answers; the default names if there are none."""
    return next((pair for pair in names.COMPARED if pair[0] in record or pair[1] in record), COLUMNS[1:])


def read_ratings(record: Record) -> Ratings:
    """Read the verdicts of a row.

    Raises:
        BadField: there is no verdict, one is not a preference, or two columns name different winners.
    """
    given = _given(record)
    if not given:
        raise BadField(VERDICTS[1], f"is missing; give one of {', '.join(VERDICTS)}")
    found = {column: _ratings(record[column], column) for column in given}
    sides = {column: side_of(mean_rating(ratings)) for column, ratings in found.items()}
    other = next((column for column in given if sides[column] != sides[given[0]]), None)
    if other is not None:
        raise BadField(other, f"names another winner than `{given[0]}`; keep one of them")
    return found[given[0]]


def mean_rating(ratings: Ratings) -> float:
    """Return the mean preference over raters."""
    return math.fsum(value * count for value, count in ratings.items()) / ratings.total()


def side_of(preference: float) -> float:
    """Which answer a preference is for: 1 for the first, 0 for the second, 0.5 for a tie."""
    return FIRST if preference > TIE else SECOND if preference < TIE else TIE


def _given(record: Record) -> list[str]:
    return [column for column in VERDICTS if record.get(column) is not None]


def _ratings(value: object, column: str) -> Ratings:
    if column != VERDICTS[0]:
        return Counter([_rating(value, column)])
    value = from_json(value)
    if isinstance(value, dict):
        return _counted((_rating(key, column), count) for key, count in value.items())
    if isinstance(value, list):
        return _counted((_rating(one, column), 1) for one in value)
    raise BadField(column, 'is neither counts, as in {"a": 3, "b": 1}, nor a list of verdicts')


def _counted(votes: Iterable[tuple[float, object]]) -> Ratings:
    counted: Ratings = Counter()
    for rating, count in votes:
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_VOTES:
            raise BadField(VERDICTS[0], f"has the count {str(count)[:40]}; give whole numbers from 0")
        counted[rating] += count
    if not counted.total():
        raise BadField(VERDICTS[0], "counts no vote")
    return +counted


def _rating(value: object, column: str) -> float:
    """Parse a preference in [0, 1] from a word or a number; numbers may be given as text."""
    said = value.strip().lower() if isinstance(value, str) else value
    if isinstance(said, str) and said in WORDS:
        return WORDS[said]
    number = None if column == "winner" else finite_number(said)
    if number is None or not 0 <= number <= 1:
        raise BadField(
            column,
            f"is {repr(value)[:40]}; write a, b or tie"
            + (", or the share of a from 0 to 1" if column != "winner" else ""),
        )
    return round(number, DIGITS)
