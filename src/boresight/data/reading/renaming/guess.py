"""Guess `data.columns` for a record that matches no layout, from the words in its column names.

A guess is only suggested in an error; files are never read by it. It is made if each column has one possible
meaning, and the renamed record matches exactly one layout and can be read.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

import yaml

from boresight.data.columns import Record, first, has_text
from boresight.data.layouts import Layout, fitting
from boresight.data.reading import names
from boresight.data.reading.renaming.mapping import Mapped, rename
from boresight.data.reading.turns import BadField

WORD = re.compile(r"[a-z]+")
"""Pattern of a word in a column name, in lower case: `good_reply` and `good-reply` have two."""

WORDS = {
    "prompt": {"prompt", "instruction", "question", "query", "input", "problem", "request", "message",
               "user"},
    "chosen": {"chosen", "preferred", "good", "better", "best", "winner", "winning", "accepted", "positive"},
    "rejected": {"rejected", "dispreferred", "unpreferred", "nonpreferred", "bad", "worse", "worst", "loser",
                 "losing", "negative"},
    "completion": {"completion", "answer", "response", "reply", "output", "target", "assistant", "solution"},
    "output": {"output", "answer", "response", "reply", "completion"},
    "input": {"context", "passage"},
    "messages": {"messages", "conversation", "conversations", "dialog", "dialogue", "chat", "turns"},
}  # fmt: skip
"""Words in column names that indicate a column of a layout, by the name of that column."""

WANTED = (
    ("chosen", "rejected"),
    ("prompt", "chosen", "rejected"),
    ("messages",),
    ("input", "output"),
    ("completion",),
    ("prompt", "completion"),
)
"""Combinations of columns to rename, in the order in which they are tried; other columns keep their names."""

VERDICT = {"label", "feedback", "rating", "score", "liked", "like", "dislike", "thumbs", "vote", "votes"}
"""Words in the name of a column that judges the only answer of a row; demonstrations have no such column."""


def guesses(record: Record) -> Iterator[tuple[Mapped, Layout]]:
    """Yield `(mapping, layout)` for mappings with which the record can be read.

    The renamed record matches this layout and no other.
    """
    for wanted in WANTED:
        columns = _mapping(record, wanted)
        if columns and ("rejected" in wanted or not _has_verdict(record)):
            named = rename(record, columns, "")
            layouts = fitting(named)
            if len(layouts) == 1 and _is_readable(named, layouts[0]):
                yield columns, layouts[0]


def with_input(record: Record, layout: Layout, column: str) -> Mapped:
    """Return the mapping that adds a text column below the prompt, as Alpaca's `input`; {} if there is none.

    Args:
        record: the raw row.
        layout: the layout that reads the record without the column.
        column: the text column.
    """
    asked = first(record, names.PROMPT)
    if asked is None or not isinstance(record.get(column), str):
        return {}
    answers = (("chosen", "rejected"),) if layout.kind == "preference" else (("output",), ())
    given: list[tuple[str, ...]] = [pair for pair in names.ANSWER_PAIRS if has_text(record, *pair)]
    given += [(name,) for name in (*names.COMPLETION, names.GOLD) if name in record] + [()]
    for wanted in answers:
        found = next((columns for columns in given if len(columns) == len(wanted)), ())
        mapping = {"instruction": asked, "input": column, **dict(zip(wanted, found, strict=False))}
        mapping = {target: name for target, name in mapping.items() if target != name}
        if not set(mapping) & record.keys():
            layouts = fitting(rename(record, mapping, ""))
            if [other.kind for other in layouts] == [layout.kind]:
                return mapping
    return {}


def suggestion(name: str, columns: Mapped, layout: Layout) -> str:
    """Return the part of an error that suggests a mapping for the source `name`."""
    value = shlex.quote(in_one_line(columns))
    look = command_with("data check", name, columns)
    return f"data.columns={value} reads it as {layout.title}; to look at them: {look}"


def renaming(columns: Mapped, layout: Layout) -> str:
    """Return the part of an error that suggests to rename columns in the file.

    It is for a source to which `data.columns` does not apply.
    """
    named = " and ".join(f"`{column}` to `{target}`" for target, column in columns.items())
    return f"rename {named} in the file, which makes it {layout.title} (data.columns does not apply to it)"


def pairs_in_words(columns: Mapped) -> str:
    """Return a sentence such as ``the columns `better` and `worse` look like preference pairs``."""
    good, bad = (columns.get(name, name) for name in ("chosen", "rejected"))
    return f"the columns `{good}` and `{bad}` look like preference pairs and are not read; to read them"


def command_with(verb: str, name: str, columns: Mapped) -> str:
    """Return the command that reads a source under a mapping, `boresight init p.jsonl --columns '{…}'`.

    Args:
        verb: the command, such as `init`.
        name: the source.
        columns: the mapping.
    """
    return f"boresight {verb} {shlex.quote(name)} --columns {shlex.quote(in_one_line(columns))}"


def in_one_line(columns: Mapped) -> str:
    """Return the mapping as an argument of the command line: `{prompt: question, chosen: good}`."""
    return yaml.safe_dump(
        dict(columns), default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    ).strip()


def _mapping(record: Record, wanted: Sequence[str]) -> Mapped:
    """Return a column of the record for each wanted name that the record lacks.

    The result is {} if a name has no matching column or several, or two names have the same.
    """
    columns = {}
    for target in wanted:
        if target not in record:
            found = [column for column in record if WORDS[target] & _words(column)]
            if len(found) != 1:
                return {}
            columns[target] = found[0]
    return columns if len(set(columns.values())) == len(columns) else {}


def _is_readable(record: Record, layout: Layout) -> bool:
    try:
        layout.read(record, "")
    except BadField:
        return False
    return True


def _has_verdict(record: Record) -> bool:
    return any(isinstance(value, bool) or VERDICT & _words(column) for column, value in record.items())


def _words(column: str) -> set[str]:
    return set(WORD.findall(column.lower()))
