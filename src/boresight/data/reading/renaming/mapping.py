"""Apply `data.columns`: read the columns of a file under the names that layouts have for them.

    {"prompt": "question", "chosen": "good", "rejected": "bad"}    # the layout's name: the file's name

Records are renamed before their layout is detected. Columns that are not in the mapping keep their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, islice

from boresight.config.dotted import read_value
from boresight.config.section import shortened
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.data import layouts
from boresight.data.columns import SCORES, Record
from boresight.data.reading import names
from boresight.data.reading.files import Raw
from boresight.data.reading.message_keys import OF_CONVERSATION

BESIDES = ("id", "system", "input", names.HISTORY, names.LABEL[0], names.GOLD, *SCORES, *OF_CONVERSATION)
"""Optional columns of layouts, in addition to those in `Layout.columns`."""
SHOWN = 12
"""Maximum number of columns that an error lists."""

Mapped = Mapping[str, str]
"""Column of the file, by the name under which a layout reads it."""


def read_by_layouts() -> list[str]:
    """Return every column name that a layout reads, sorted."""
    return sorted({*BESIDES, *(column for layout in layouts.all_layouts() for column in layout.columns)})


def parse_columns(text: str | None) -> dict[str, str] | None:
    """Parse the value of the option `--columns`, a mapping as in `data.columns`; None without the option.

    Raises:
        UserError: the text is not a mapping of names to names.
    """
    if text is None:
        return None
    found = read_value(text)
    pairs = found.items() if isinstance(found, dict) else ()
    if not pairs or not all(isinstance(name, str) for pair in pairs for name in pair):
        raise UserError(
            f"--columns: {shortened(text)} is no mapping; write '{{prompt: question, chosen: good}}', each "
            "name that a layout has before the file's own."
        )
    return dict(pairs)


def rename_rows(name: str, rows: Raw, columns: Mapped, look_at: int) -> Raw:
    """Return the rows of a source with their columns renamed.

    Args:
        name: name of the source, for errors.
        rows: the rows, without null columns.
        columns: the mapping; each of its columns must occur in the first `look_at` rows.
        look_at: number of rows to check.

    Raises:
        UserError: a name that no layout reads, a column that is named twice or that no row has; while rows
            are read, also a row with another column of the new name.
    """
    refuse_unknown_columns(columns)
    head = list(islice(rows, look_at))
    _refuse_absent(name, [record for _, record in head if isinstance(record, dict)], columns, look_at)
    return (
        (row, rename(record, columns, f"{name}: row {row}") if isinstance(record, dict) else record)
        for row, record in chain(head, rows)
    )


def rename(record: Record, columns: Mapped, where: str) -> Record:
    """Return a record with its columns renamed, in their order.

    Args:
        record: the raw row.
        columns: the mapping.
        where: beginning of an error, such as the file and the row.

    Raises:
        UserError: another column has one of the new names already.
    """
    new = {column: target for target, column in columns.items()}
    made: Record = {}
    for column, value in record.items():
        target = new.get(column, column)
        if target in made:
            raise UserError(
                f"{where} has a column `{target}` beside `{columns[target]}`, which data.columns reads as "
                f"`{target}`; rename or remove one of them."
            )
        made[target] = value
    return made


def refuse_unknown_columns(columns: Mapped) -> None:
    """Raise a `UserError` for a name that no layout reads, or a column that is mapped to two names."""
    known = read_by_layouts()
    for target, column in columns.items():
        if target not in known:
            turned = f"; write {{{column}: {target}}}, the layout's name first" if column in known else ""
            raise UserError(f"data.columns: no layout reads `{target}`{turned or nearest(target, known)}.")
    counts = list(columns.values())
    if twice := next((column for column in counts if counts.count(column) > 1), None):
        raise UserError(f"data.columns: names the column `{twice}` twice; read it under one name.")


def _refuse_absent(name: str, records: list[Record], columns: Mapped, look_at: int) -> None:
    present = dict.fromkeys(column for record in records for column in record)
    for target, column in columns.items():
        if records and column not in present:
            rows = "no row" if len(records) < look_at else f"none of the first {look_at:,} rows"
            raise UserError(
                f"{name}: {rows} has the column `{column}`, which data.columns reads as `{target}`; "
                f"the columns are {listed(present)}{_meant(column, target, present)}."
            )


def _meant(column: str, target: str, present: Iterable[str]) -> str:
    """Return a suggestion for a missing column; "" if no column has a similar name."""
    if target in present and column in read_by_layouts():
        return f"; did you mean {{{column}: {target}}}, the layout's name first?"
    suggestion = nearest(column, present)
    return suggestion if suggestion.startswith("; did") else ""


def listed(columns: Iterable[str]) -> str:
    """Return the names of the columns for an error, at most `SHOWN`."""
    names = list(columns)
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
