"""Read rows of recorded verdicts from a file of verdicts or preference pairs, or the folder of an arena."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boresight.core.errors import UserError
from boresight.core.files import expanded
from boresight.core.schema import Message, Preference
from boresight.data.columns import Record, id_column
from boresight.data.layouts import fitting, verdicts
from boresight.data.layouts.verdicts import Ratings
from boresight.data.reading import names
from boresight.data.reading.files import records
from boresight.data.reading.shapes import read_text
from boresight.data.reading.turns import BadField

RATERS = ("rater", "rater_id", "annotator", "annotator_id", "judge")
"""Columns that may contain the name of the rater, in order of preference."""
ARENA = ("preferences.jsonl", "ties.jsonl")
"""Names of the files in the folder of an arena."""


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """One row: its number (from 1), prompt, both answers, verdicts on them, and the rater, if known."""

    row: int
    id: str
    prompt: list[Message]
    a: str
    b: str
    ratings: Ratings
    rater: str | None


def read_verdict_rows(source: str | Path) -> list[VerdictRow]:
    """Read all rows.

    An answer may be empty: an empty cell of a table, or null if other rows have a text in that column.

    Raises:
        UserError: there is no such file, it has no rows, or a row cannot be read; the error names the row.
    """
    place = expanded(source)
    files = [file for name in ARENA if (file := place / name).is_file()] or [place]
    found = [row for file in files for row in _rows_of(file)]
    if not found:
        raise UserError(f"{source}: holds no verdict; there is not one row in it.")
    return found


def _rows_of(file: Path) -> Iterator[VerdictRow]:
    raw = list(records(file))
    known = {column for _, record in raw if isinstance(record, dict) for column in record}
    for number, record in raw:
        try:
            yield _row(number, record, known)
        except BadField as error:
            raise UserError(f"{file}, row {number}: {error}.") from None


def _row(number: int, given: object, known: set[str]) -> VerdictRow:
    if not isinstance(given, dict):
        raise BadField("record", f"is {type(given).__name__}, not an object with columns")
    record = read_text({column: value for column, value in given.items() if value is not None})
    prompt, a, b, ratings = _verdict(record, known)
    if a == b and verdicts.mean_rating(ratings) != verdicts.TIE:
        raise BadField("record", "prefers one of two equal answers")
    rater = next((str(record[column]) for column in RATERS if record.get(column) is not None), None)
    column = id_column(record)
    return VerdictRow(
        number, str(record[column]) if column else f"row-{number}", prompt, a, b, ratings, rater
    )


def _verdict(record: Record, known: set[str]) -> tuple[list[Message], str, str, Ratings]:
    if any(column in record for pair in names.COMPARED for column in pair):
        _, prompt = verdicts.read_prompt(record)
        a, b = (_answer(record, column, known) for column in verdicts.compared_columns(record))
        return prompt, a, b, verdicts.read_ratings(record)
    if (tied := _arena_tie(record)) is not None:
        _, prompt = verdicts.read_prompt(record)
        return prompt, *tied, Counter([verdicts.TIE])
    layout = next((found for found in fitting(record) if found.kind == "preference"), None)
    if layout is None:
        needed = ", ".join([*verdicts.COLUMNS, verdicts.VERDICTS[1]])
        raise BadField("record", f"is no verdict and no preference pair; the columns are {needed}")
    pair = layout.read(record, "")
    assert isinstance(pair, Preference)
    if len(pair.chosen) > 1 or len(pair.rejected) > 1:
        raise BadField("chosen", "has several turns; verdicts are on single answers")
    return pair.prompt, pair.chosen[0]["content"], pair.rejected[0]["content"], Counter([verdicts.FIRST])


def _answer(record: Record, column: str, known: set[str]) -> str:
    answer = record.get(column, "" if column in known else None)
    if not isinstance(answer, str):
        raise BadField(column, "is missing" if answer is None else f"is {type(answer).__name__}, not text")
    return answer


def _arena_tie(record: Record) -> tuple[str, str] | None:
    """Return both answers of a tie in an arena; None for other rows."""
    answers, meta = record.get("answers"), record.get("meta")
    if not isinstance(answers, dict) or not (isinstance(meta, dict) and "arena" in meta):
        return None
    texts = list(answers.values())
    return (texts[0], texts[1]) if len(texts) == 2 and all(isinstance(t, str) for t in texts) else None
