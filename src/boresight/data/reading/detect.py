"""Detect the layout of a file from many of its records."""

from __future__ import annotations

from collections.abc import Sequence

from boresight.core.errors import UserError
from boresight.data.columns import PAIR_COLUMNS, Record, from_json, lacks
from boresight.data.layouts import Layout, all_layouts, fitting
from boresight.data.reading import names
from boresight.data.reading.files import Unparsed
from boresight.data.reading.renaming.guess import guesses, renaming, suggestion
from boresight.data.reading.renaming.mapping import listed

TO_RENAME = (
    "rename them: pairs have `prompt`, `chosen` and `rejected`; demonstrations `messages`, or `prompt` and "
    "`completion`; labeled answers `prompt`, `completion` and `label`; rows for methods that sample `prompt`"
)
"""Advice for a file that resembles no layout."""

KINDS_OF_VALUES = {str: "text", dict: "an object", bool: "true or false", int: "a number", float: "a number"}
"""Names of the JSON types, for errors."""

NumberedRecords = Sequence[tuple[int, object]]


def detect(name: str, rows: NumberedRecords, *, guessing: bool = True, mappable: bool = True) -> Layout:
    """Detect the layout that the rows have in common.

    Rows that match no layout, or lack its last column, are ignored here; the reader reports them.

    Args:
        name: name of the source, for errors.
        rows: row numbers and records.
        guessing: whether the error for an unknown layout may suggest other names of the columns.
        mappable: whether `data.columns` applies to the source, so that the error may suggest a value for it.

    Raises:
        UserError: no row matches any layout, a row matches two, or two rows match different ones.
    """
    found: Layout | None = None
    first_row = 0
    for row, record in rows:
        fits = fitting(record)
        if len(fits) > 1:
            raise UserError(_ambiguous(name, row, fits))
        if fits and (found is None or found.name in fits[0].incomplete):
            found, first_row = fits[0], row
        elif found is not None and fits and fits[0] is not found and fits[0].name not in found.incomplete:
            raise UserError(mixed(name, row, fits[0], f"row {first_row} is {found}"))
    if found is None:
        raise UserError(_unknown(name, rows, guessing, mappable))
    return found


def mixed(name: str, row: int, other: Layout, rest: str) -> str:
    """Return the error message for a row whose layout differs from the file's."""
    return (
        f"{name}: row {row} is {other} where {rest}; "
        f"give each layout its own file, or read all rows one way with data.layout=NAME."
    )


def _ambiguous(name: str, row: int, fits: Sequence[Layout]) -> str:
    titles = " and ".join(map(str, fits))
    ways = " or ".join(f"data.layout={source.name}" for source in fits)
    return f"{name}: row {row} fits {len(fits)} layouts, {titles}; say which is meant with {ways}."


def _unknown(name: str, rows: NumberedRecords, guessing: bool, mappable: bool) -> str:
    row, record = next((pair for pair in rows if isinstance(pair[1], dict)), rows[0])
    if isinstance(record, Unparsed):
        return f"{name}: {record.sentence(row)}"
    if isinstance(record, str) and isinstance(from_json(record), dict | list):
        return f"{name}: row {row} is text that holds JSON, which was encoded twice; decode each row once."
    if not isinstance(record, dict):
        return f"{name}: row {row} is {_kind(record)}, not an object with columns."
    if why := _several_answers(record):
        return f"{name}: row {row} {why}."
    what = f"{name}: row {row} has the columns {listed(record)}, which fit no known layout"
    guessed = next(guesses(record), None) if guessing else None
    if guessed is None:
        return f"{what}; {_hint(record)}."
    return f"{what}; {suggestion(name, *guessed) if mappable else renaming(*guessed)}."


def _several_answers(record: Record) -> str:
    """Return why a row with several answers cannot be used; "" if it does not have several answers."""
    found = [column for column in names.ANSWER_LISTS if column in record]
    if not found or not lacks(record, PAIR_COLUMNS):
        return ""
    labels = next((column for column in names.STEP_LABELS if isinstance(record.get(column), list)), None)
    if labels and isinstance(record[found[0]], list):
        return (
            f"has labels of the single steps of an answer (`{found[0]}` and `{labels}`, process "
            "supervision), from which no method here learns; give whole answers, or remove both columns to "
            "use the prompts"
        )
    named = " and ".join(f"`{column}`" for column in found)
    return (
        f"has several answers ({named}) and no column that is known to say which one is better; "
        "name the better one `chosen` and a worse one `rejected`, or give one answer per row"
    )


def _hint(record: Record) -> str:
    """Return what a record lacks for the nearest layout.

    The nearest layout has the most columns in common with the record, then the fewest missing. If only half
    of its columns or fewer are in common, such as `input` alone, it was not meant, and the result is
    `TO_RENAME`.
    """
    ranked = sorted(all_layouts(), key=lambda s: (-_common(s, record), len(s.columns) - _common(s, record)))
    best = ranked[0]
    missing = [column for column in best.columns if column not in record]
    if 2 * _common(best, record) <= len(best.columns):
        return TO_RENAME
    if missing:
        return f"{best} would need {' and '.join(f'`{column}`' for column in missing)} as well"
    kinds = ", ".join(f"`{column}` is {_kind(record[column])}" for column in best.columns)
    return f"{best} has these columns, but with other values in them ({kinds} here)"


def _kind(value: object) -> str:
    """Return the type of a value as words for an error."""
    if isinstance(value, list):
        return f"a list that begins with {_kind(value[0])}" if value else "an empty list"
    return KINDS_OF_VALUES.get(type(value), type(value).__name__)


def _common(source: Layout, record: Record) -> int:
    return sum(column in record for column in source.columns)
