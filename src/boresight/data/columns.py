"""Access to the columns of a raw record: presence, type, labels, scores, and the unused columns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from boresight.data.reading import names
from boresight.data.reading.turns import BadField, check_text

Record = dict[str, Any]

ID_COLUMNS = ("id", "question_id", "key")
"""Columns that may contain a row's id, in order of preference; MT-Bench has `question_id`, IFEval `key`."""

SCORES = names.SCORES[0]

PAIR_COLUMNS = frozenset(column for pair in names.ANSWER_PAIRS + names.MESSAGE_PAIRS for column in pair)
"""Columns of preference pairs: a row with any of them is not read as a demonstration or a bare prompt."""

ANSWER_COLUMNS = PAIR_COLUMNS | frozenset(
    [*names.COMPLETION, names.GOLD, *names.CONVERSATION, *names.ANSWER_LISTS, "output", "instances"],
)
"""Columns with an answer: a row with any of them is not a bare prompt."""


def has_text(record: Record, *columns: str) -> bool:
    """Return whether all of these columns are strings, which may be empty."""
    return all(isinstance(record.get(c), str) for c in columns)


def has_turns(record: Record, *columns: str) -> bool:
    """Return whether all of these columns are lists whose first item is a message."""
    return all(_begins_with_message(record.get(c)) for c in columns)


def _begins_with_message(value: object) -> bool:
    return isinstance(value, list) and bool(value) and is_message(value[0])


def is_message(value: object) -> bool:
    """Whether a value is a message: `{"role": …}` or ShareGPT's `{"from": …}`."""
    return isinstance(value, dict) and ("role" in value or "from" in value)


def lacks(record: Record, columns: Iterable[str]) -> bool:
    """Whether none of these columns is present."""
    return not any(c in record for c in columns)


def first(record: Record, columns: Iterable[str]) -> str | None:
    """Return the first of these columns that contains text; None if none does."""
    return next((c for c in columns if isinstance(record.get(c), str)), None)


def label_column(record: Record) -> str | None:
    """Return the column that labels the only answer of a row as good or bad; None if there is none.

    The name of a label inside the column `metadata` is `metadata.NAME`. A row with two answers has no label.
    """
    if not lacks(record, PAIR_COLUMNS):
        return None
    judged = ((path, value) for path, value in _verdicts(record) if read_label(value) is not None)
    return next((c for c in names.LABEL if c in record), None) or next((path for path, _ in judged), None)


def _verdicts(record: Record) -> Iterator[tuple[str, object]]:
    """Yield the columns with the verdict of a verifier, and their values."""
    for prefix, source in (("", record), (f"{names.METADATA}.", _metadata(record))):
        yield from ((prefix + name, source[name]) for name in names.CORRECT if name in source)


def label_value(record: Record, column: str) -> object:
    """Return the value of the column that `label_column` returned."""
    return dict(_verdicts(record)).get(column, record.get(column))


def without_label(record: Record, column: str) -> Record:
    """Return the record without the column that `label_column` returned."""
    outer, _, inner = column.partition(".")
    rest = {name: value for name, value in record.items() if name != outer}
    kept = {name: value for name, value in _metadata(record).items() if name != inner} if inner else {}
    return {**rest, outer: kept} if kept else rest


def _metadata(record: Record) -> Record:
    found = from_json(record.get(names.METADATA))
    return found if isinstance(found, dict) else {}


def is_plain(record: Record) -> bool:
    """Return whether a row has neither a second answer nor a label, so that its answer is to be imitated."""
    return lacks(record, PAIR_COLUMNS) and label_column(record) is None


def read_label(value: object) -> bool | None:
    """Return True for a good answer, False for a bad one, None for a value that is not a label.

    All spellings that public data sets use are accepted.
    """
    said = str(value).strip().lower() if isinstance(value, str | int | float) else ""
    return True if said in names.GOOD else False if said in names.BAD else None


def text(record: Record, column: str) -> str:
    """Return the text of a column.

    Raises:
        BadField: the column is missing, empty or not text.
    """
    return check_text(record.get(column), column)


def optional_text(record: Record, column: str) -> str:
    """Return the text of a column, or "" if the column is missing or blank.

    Raises:
        BadField: the value is not text.
    """
    value = record.get(column)
    return "" if value is None or value == "" or _blank(value) else check_text(value, column)


def _blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def id_column(record: Record) -> str | None:
    """Return the first id column that contains text or a whole number; None if there is none."""
    for column in ID_COLUMNS:
        value = record.get(column)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return column
    return None


def scores(record: Record) -> tuple[float | None, float | None]:
    """Return the scores of the chosen and the rejected answer; None for a score that is missing.

    They are read under any name that public data sets use, at the top level or inside `metadata`. A number
    may be given as text, as in CSV files.

    Raises:
        BadField: a score is not a finite number.
    """
    inner = _metadata(record)
    for source in (record, inner):
        for pair in names.SCORES:
            if all(isinstance(source.get(name), int | float | str) for name in pair):
                better, worse = (_score(source[name], name) for name in pair)
                return better, worse
    first, second = (_score(record.get(name, inner.get(name)), name) for name in SCORES)
    return first, second


def _score(value: object, name: str) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in names.NOT_GIVEN):
        return None
    found = finite_number(value)
    if found is None:
        raise BadField(name, f"is {repr(value)[:40]}, not a finite number")
    return found


def finite_number(value: object) -> float | None:
    """Convert a number, or text that contains one, to float; None for any other value.

    Booleans, NaN and infinities are not converted.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def from_json(value: object) -> object:
    """Parse JSON text, the form in which tables store lists and objects; return other values unchanged."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def extras(record: Record, used: Iterable[str]) -> dict[str, Any]:
    """Return the columns that are neither used nor scores nor id; they become the `meta` of an example.

    If the only such column is `meta` (or `meta_json`, in canonical Parquet), the file was written by
    `boresight.data.write`, and the content of the column is returned.
    """
    known = {*used, *SCORES, id_column(record)}
    rest = {column: value for column, value in record.items() if column not in known}
    if rest.keys() == {"meta"} and isinstance(rest["meta"], dict):
        return rest["meta"]
    if rest.keys() == {"meta_json"}:
        return _meta(rest["meta_json"])
    return rest


def _meta(value: object) -> dict[str, Any]:
    meta = from_json(value) if isinstance(value, str) else None
    if not isinstance(meta, dict):
        raise BadField("meta_json", "is not a JSON object")
    return meta
