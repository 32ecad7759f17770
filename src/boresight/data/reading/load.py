"""Read any supported file into canonical examples, with a sentence that summarizes what was read."""

from __future__ import annotations

import shlex
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from boresight.core.console import progress
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.schema import Example, Labeled, Preference
from boresight.core.wording import plural
from boresight.data import layouts
from boresight.data.columns import Record, id_column, label_column
from boresight.data.layouts import Layout, fitting
from boresight.data.reading import files, message_keys
from boresight.data.reading.convert import CONVERSIONS, KINDS, Conversion
from boresight.data.reading.detect import detect, mixed
from boresight.data.reading.files import Raw, Unparsed
from boresight.data.reading.renaming.guess import guesses, in_one_line, suggestion, with_input
from boresight.data.reading.renaming.mapping import Mapped, rename_rows
from boresight.data.reading.shapes import read_text
from boresight.data.reading.turns import BadField
from boresight.data.reading.unread_columns import UnreadColumns
from boresight.data.stored.examples import SpooledExamples

SAMPLE = 1000
"""Number of rows from which the layout is detected; later rows must have the same layout."""

POLICIES = ("error", "drop")
WAY_OUT = "fix the row or set data.bad_rows=drop to leave such rows out (they are counted)"
NOUNS = {
    "preference": "preference pair",
    "demonstration": "demonstration",
    "labeled": "labeled answer",
    "prompt": "prompt",
}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A malformed row that was dropped.

    `row` is its number, from 1, and `message` completes the sentence "`field` …".
    """

    row: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: `{self.field}` {self.message}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Result of `read`.

    Attributes:
        examples: the examples, converted to `kind`.
        layout: name of the layout of the source.
        kind: kind of the examples, which may differ from the kind of the source.
        source: the source.
        sha256: hash of the source file as stored, compressed or not.
        bad: the malformed rows.
        left_out: number of valid rows without a counterpart of the kind, such as answers labeled false.
        identical: number of pairs with equal answers; they are kept.
        sentence: summary of what was read.
        rows: row number of each example, from 1.
        as_pairs: mapping of columns with which a file of bare prompts would be read as preference pairs; None
            if there is no obvious one.
    """

    examples: Sequence[Example]
    layout: str
    kind: str
    source: str
    sha256: str
    bad: list[BadRow]
    left_out: int
    identical: int
    sentence: str
    rows: Sequence[int]
    as_pairs: Mapped | None = None


def read(
    path: str | Path,
    *,
    kind: str | None = None,
    bad_rows: str = "error",
    layout: str | None = None,
    columns: Mapped | None = None,
    limit: int | None = None,
    mappable: bool = True,
) -> Loaded:
    """Read a file, a saved `datasets` folder or a hub data set into canonical examples.

    A folder or a hub id may be followed by `@split`.

    Args:
        path: the source.
        kind: one of `convert.KINDS`; None keeps the kind of the file.
        bad_rows: "error" raises for the first malformed row, "drop" drops malformed rows and lists them.
        layout: name of a file in `boresight.data.layouts`; None detects the layout.
        columns: column of the source by the name under which layouts read it; other columns keep their names.
        limit: maximum number of examples; later rows are not read.
        mappable: whether messages may suggest `data.columns`.

    Raises:
        UserError: an unreadable or empty source, an unknown, ambiguous or mixed layout, `columns` that do not
            fit the source, a kind that the file cannot be converted to, a malformed row under "error", or no
            row left.
    """
    if bad_rows not in POLICIES:
        raise UserError(f"data.bad_rows: no such policy {bad_rows!r}{nearest(bad_rows, POLICIES)}.")
    loaded = collect(
        path,
        kind=kind,
        layout=layout,
        columns=columns,
        limit=limit,
        mappable=mappable,
        stop=bad_rows == "error",
    )
    if not loaded.examples:
        raise UserError(_nothing_left(loaded))
    return loaded


def collect(
    path: str | Path,
    *,
    kind: str | None = None,
    layout: str | None = None,
    columns: Mapped | None = None,
    limit: int | None = None,
    mappable: bool = True,
    stop: bool = False,
) -> Loaded:
    """Read a source as `read` does, but without an error if all rows are malformed.

    With `stop`, the first malformed row raises a `UserError`.
    """
    name = str(path)
    columns = columns or {}
    rows = _cleaned(name, files.raw_rows(path), columns)
    head = list(islice(rows, SAMPLE))
    if not head:
        raise UserError(f"{name}: is empty, there is not one row in it.")
    source = layouts.get(layout) if layout else detect(name, head, guessing=not columns, mappable=mappable)
    first = next((record for _, record in head if isinstance(record, dict)), None)
    guessed = [] if columns or first is None else list(guesses(first))
    kind, convert, how = _conversion(name, source, kind, guessed)
    examples = SpooledExamples()
    numbers = array("q")
    bad: list[BadRow] = []
    left_out = identical = good = 0
    watched = _watched(name, chain(head, rows))
    unused: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    unread = UnreadColumns()
    counted = _counted(watched, unused, labels if source.kind == "labeled" else None)
    for row, outcome in _outcomes(name, source, counted, columns, forced=layout is not None):
        if isinstance(outcome, BadRow):
            if stop:
                raise UserError(f"{name}: {outcome}; {WAY_OUT}.")
            bad.append(outcome)
            continue
        unread.add(outcome)
        if converted := convert(outcome):
            for example in converted:
                examples.append(example)
                numbers.append(row)
                identical += isinstance(example, Preference) and example.chosen == example.rejected
                good += isinstance(example, Labeled) and example.label
        else:
            left_out += 1
        if limit is not None and len(examples) >= limit:
            break
    full = limit is not None and len(examples) >= limit
    counts = _Counts(len(examples), len(bad), left_out, identical, good, first=full)
    title = source.title + _labeled_by(labels, columns)
    sentence = _sentence(counts, kind, title, how) + _named(columns) + _unused(unused)
    sentence += unread.sentence(
        _with_context(first, source, unread.context) if mappable and not columns else ""
    )
    return Loaded(
        examples,
        source.name,
        kind,
        name,
        files.sha256(path),
        bad,
        left_out,
        identical,
        sentence,
        numbers,
        as_pairs=_as_pairs(guessed) if source.kind == "prompt" else None,
    )


def _as_pairs(guessed: Sequence[tuple[Mapped, Layout]]) -> Mapped | None:
    """Return the first guessed mapping that reads the file as preference pairs; None if there is none."""
    return next((mapping for mapping, other in guessed if other.kind == "preference"), None)


def _watched(name: str, rows: Raw) -> Raw:
    """Yield the rows, with a progress bar on the terminal if there are more than `SAMPLE`."""
    from boresight.core.console import Terminal

    yield from islice(rows, SAMPLE)
    with progress(Terminal(stderr=True), f"reading {name}") as advance:
        for count, row in enumerate(rows, SAMPLE):
            if count % SAMPLE == 0:
                advance(SAMPLE)
            yield row


def _counted(rows: Raw, unused: Counter[str], labels: Counter[str] | None) -> Raw:
    """Yield the rows, and count unused message keys and label columns on the way.

    Args:
        rows: the rows.
        unused: counter of the keys of messages that are not read.
        labels: counter of the columns that label the answers; None if the rows have no labels.
    """
    for row, record in rows:
        if isinstance(record, dict):
            unused.update(message_keys.unused(record))
            if labels is not None and (column := label_column(record)) is not None:
                labels[column] += 1
        yield row, record


def _labeled_by(labels: Counter[str], columns: Mapped) -> str:
    """Return the part of the sentence with the label columns, each with its rows if there are several."""
    found = [
        f"`{columns.get(column, column)}`" + (f" ({count:,})" if len(labels) > 1 else "")
        for column, count in labels.most_common()
    ]
    return f" by {' and '.join(found)}" if found else ""


def _unused(counts: Counter[str]) -> str:
    named = ", ".join(f"`{key}` ({count:,})" for key, count in counts.most_common())
    return f"; keys of messages that are not used: {named}" if named else ""


def _with_context(first: Record | None, source: Layout, context: Sequence[str]) -> str:
    """Return the value of `data.columns` that adds a text column to the prompts; "" if there is none."""
    mapping = with_input(first, source, context[0]) if first is not None and context else {}
    return shlex.quote(in_one_line(mapping)) if mapping else ""


def _named(columns: Mapped) -> str:
    """Return the part of the sentence that lists the columns that were read under other names."""
    said = ", ".join(f"`{column}` as `{target}`" for target, column in columns.items())
    return f"; {said}" if said else ""


def _cleaned(name: str, rows: Raw, columns: Mapped) -> Raw:
    """Yield the records with renamed columns, and with lists parsed that are stored as text.

    Columns that are null are removed, since a table cannot omit a column in one row. A row is `Unparsed` if a
    text is meant as a list and cannot be parsed.
    """
    found: Raw = (
        (row, {c: v for c, v in record.items() if v is not None} if isinstance(record, dict) else record)
        for row, record in rows
    )
    for row, record in rename_rows(name, found, columns, SAMPLE) if columns else found:
        try:
            yield row, read_text(record) if isinstance(record, dict) else record
        except BadField as error:
            yield row, Unparsed(error.message, field=columns.get(error.field, error.field))


def _conversion(
    name: str, source: Layout, wanted: str | None, guessed: Sequence[tuple[Mapped, Layout]]
) -> tuple[str, Conversion, str]:
    """Return the kind of the examples, the conversion to it, and its description.

    Args:
        name: name of the source, for errors.
        source: layout of the source.
        wanted: the requested kind; None keeps the kind of the layout.
        guessed: other mappings to read the source with, for the error.

    Raises:
        UserError: there is no such kind, or no conversion to it.
    """
    if wanted is not None and wanted not in KINDS:
        raise UserError(f"kind: there is no kind of data {wanted!r}{nearest(wanted, KINDS)}.")
    kind = wanted or source.kind
    if (source.kind, kind) in CONVERSIONS:
        return kind, *CONVERSIONS[source.kind, kind]
    if source.kind == "labeled":
        raise UserError(
            f"{name}: holds unpaired feedback (single answers labeled true or false), which is not a "
            "preference pair; method.name=kto learns from it, method.name=sft from the answers labeled true."
        )
    suits = next((guess for guess in guessed if (guess[1].kind, kind) in CONVERSIONS), None)
    other = f"choose another file or a method that learns from {NOUNS[source.kind]}s"
    raise UserError(
        f"{name}: holds {NOUNS[source.kind]}s ({source.title}), which cannot be read as "
        f"{NOUNS[kind]}s; {other if suits is None else suggestion(name, *suits)}."
    )


def _outcomes(
    name: str, source: Layout, rows: Raw, columns: Mapped, *, forced: bool
) -> Iterator[tuple[int, Example | BadRow]]:
    """Yield the number and the example of each row, or a `BadRow` for a malformed row.

    The field of a malformed row is the name of the column in the file.
    """
    for row, record in rows:
        if isinstance(record, Unparsed):
            yield row, BadRow(row, record.field or "record", record.message)
            continue
        if not isinstance(record, dict):
            yield row, BadRow(row, "record", f"is {type(record).__name__}, not an object with columns")
            continue
        others = [] if forced or source.matches(record) else fitting(record)
        if others and others[0].name not in source.incomplete:
            raise UserError(mixed(name, row, others[0], f"the rows before are {source}"))
        try:
            yield row, source.read(record, _identity(record, row))
        except BadField as error:
            yield row, BadRow(row, columns.get(error.field, error.field), error.message)


def _identity(record: Record, row: int) -> str:
    column = id_column(record)
    return f"row-{row}" if column is None else str(record[column])


class _Counts(NamedTuple):
    """Counts for the summary sentence.

    They are the numbers of examples, malformed rows, unused rows, identical pairs, and answers labeled true.
    `first`: reading ended at a limit, so that there may be more.
    """

    examples: int
    bad: int
    left_out: int
    identical: int
    good: int
    first: bool = False


def _sentence(counts: _Counts, kind: str, title: str, how: str) -> str:
    examples = plural(counts.examples, NOUNS[kind])
    if counts.first:
        examples = f"the first {examples.removeprefix('1 ')}"
    parts = [f"read {examples}{f' ({how})' if how else ''}, {title}"]
    if kind == "labeled":
        parts.append(f"{counts.good:,} good, {counts.examples - counts.good:,} bad")
    if counts.bad:
        parts.append(f"{plural(counts.bad, 'malformed row')} dropped")
    if counts.left_out:
        parts.append(f"{plural(counts.left_out, 'row')} labeled false dropped")
    if counts.identical:
        parts.append(f"{plural(counts.identical, 'pair')} with identical answers kept")
    return "; ".join(parts)


def _nothing_left(loaded: Loaded) -> str:
    first = f"the first, {loaded.bad[0]}" if loaded.bad else "all are labeled false"
    rows = len(loaded.bad) + loaded.left_out
    return f"{loaded.source}: none of its {plural(rows, 'row')} can be used; {first}."
