"""`boresight data check FILE`: the layout, the counts, and every malformed row."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from boresight.core.console import WARNING, print_command
from boresight.core.schema import (
    Demonstration,
    Example,
    Labeled,
    Message,
    Preference,
    answers_of,
    prompt_of,
    turn_key,
)
from boresight.core.wording import percent, plural
from boresight.data import layouts
from boresight.data.layouts import Layout
from boresight.data.reading.load import BadRow, Loaded, collect
from boresight.data.reading.renaming.guess import command_with, pairs_in_words
from boresight.data.reading.renaming.mapping import Mapped
from boresight.data.stored.view import of_type
from boresight.stats.quantiles import nearest_rank

QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
PROBLEM = ("numbers", "target")
"""Columns in which the layouts of Countdown problems store what the verifier needs."""
HEADINGS = ("shortest", "10 %", "median", "90 %", "longest")


@dataclass(frozen=True, slots=True)
class Count:
    """A count for the report: `count` of `total` examples have the property `label`.

    `why` is the reason why this matters.
    """

    label: str
    count: int
    total: int
    why: str


@dataclass(frozen=True, slots=True)
class FileReport:
    """Report on a data file.

    `rows` is the number of rows of the file. `lengths` maps each part of an example (prompt, chosen,
    rejected, good, bad, answer) to the quantiles `QUANTILES` of its length in characters.
    """

    loaded: Loaded
    rows: int
    counts: list[Count]
    lengths: dict[str, list[int]]
    other_columns: list[str]
    """Columns that the layout does not read."""

    @property
    def bad(self) -> list[BadRow]:
        """Malformed rows; the check passes if there are none."""
        return self.loaded.bad

    @property
    def verdict(self) -> str:
        """A sentence with the number of malformed rows, such as `2 malformed rows of 40.`"""
        return (
            f"{plural(len(self.bad), 'malformed row')} of {self.rows:,}."
            if self.bad
            else "No malformed rows."
        )


def check_file(
    path: str | Path,
    layout: str | None = None,
    *,
    columns: Mapped | None = None,
    kind: str | None = None,
) -> FileReport:
    """Read all rows of a file and count properties that matter before training on it.

    The arguments are those of `read`.

    Raises:
        UserError: the source cannot be read at all, or its layout is unknown, ambiguous or mixed. Malformed
            rows do not raise; they are in the report.
    """
    loaded = collect(path, layout=layout, columns=columns, kind=kind)
    rows = len(loaded.examples) + len(loaded.bad) + loaded.left_out
    others = _other_columns(loaded.examples, layouts.get(loaded.layout))
    return FileReport(loaded, rows, _counts(loaded.examples), _lengths(loaded.examples), others)


def _other_columns(examples: Iterable[Example], layout: Layout) -> list[str]:
    """Return the columns that the layout does not read, in the order in which they first occur."""
    found = dict.fromkeys(column for example in examples for column in example.meta)
    return [column for column in found if column not in (*layout.columns, *PROBLEM)]


def _counts(examples: Sequence[Example]) -> list[Count]:
    pairs = of_type(examples, Preference)
    labels = [example.label for example in examples if isinstance(example, Labeled)]
    why = "far from half, kto needs weights"
    return [
        *_of_all(examples),
        *(_of_pairs(pairs) if pairs else []),
        *([Count("labeled good", sum(labels), len(labels), why)] if labels else []),
    ]


def _of_all(examples: Sequence[Example]) -> list[Count]:
    total = len(examples)

    def count(label: str, holds: Callable[[Example], bool], why: str) -> Count:
        return Count(label, sum(map(holds, examples)), total, why)

    prompts = (repr([turn_key(m) for m in prompt_of(example)]) for example in examples)
    return [
        count("multi-turn", _is_multi_turn, "an answer comes before the last user turn"),
        count("with a system prompt", _has_system, "some chat templates refuse the system role"),
        count("the same role twice in a row", _repeats_role, "some chat templates refuse it"),
        Count("repeated prompts", _repeats(prompts), total, "keep copies out of held-out data"),
        Count("repeated ids", _repeats(e.id for e in examples), total, "each gets an id of its own"),
    ]


def _is_multi_turn(example: Example) -> bool:
    return any(message["role"] == "assistant" for message in prompt_of(example))


def _has_system(example: Example) -> bool:
    return any(message["role"] == "system" for message in prompt_of(example))


def _repeats_role(example: Example) -> bool:
    if isinstance(example, Demonstration):
        return _runs(example.messages)
    return any(_runs(example.prompt + answer) for answer in answers_of(example) or [[]])


def _runs(turns: Sequence[Message]) -> bool:
    return any(one["role"] == other["role"] for one, other in pairwise(turns))


def _repeats(texts: Iterable[str]) -> int:
    """Return the number of texts that are equal to an earlier text.

    Texts are compared by their hashes, so that none is kept in memory.
    """
    hashes = array("q", map(hash, texts))
    return len(hashes) - len(set(hashes))


def _of_pairs(pairs: Sequence[Preference]) -> list[Count]:
    total = len(pairs)
    scores = [(p.chosen_score, p.rejected_score) for p in pairs]
    scored = [(good, bad) for good, bad in scores if good is not None and bad is not None]
    identical = sum(p.chosen == p.rejected for p in pairs)
    repeating = sum(_repeats_prompt(p) for p in pairs)
    unequal = sum(len(p.chosen) != len(p.rejected) for p in pairs)
    longer = sum(_characters(p.chosen) > _characters(p.rejected) for p in pairs)
    counts = [
        Count("identical answers", identical, total, "their margin is 0 whatever the model"),
        Count("answer opens with the prompt", repeating, total, "the prompt would be trained on"),
        Count("unequal numbers of turns", unequal, total, "the longer side is learned turn by turn"),
        Count("chosen is longer", longer, total, "far from half, length predicts the label"),
    ]
    if scored:
        equal = sum(good == bad for good, bad in scored)
        inverted = sum(good < bad for good, bad in scored)
        counts += [
            Count("equal scores", equal, len(scored), "the label is arbitrary"),
            Count("rejected scores higher", inverted, len(scored), "the label contradicts the scores"),
        ]
    return counts


def _repeats_prompt(pair: Preference) -> bool:
    said = pair.prompt[-1]["content"].strip()
    answers = (answer[0]["content"].lstrip() for answer in (pair.chosen, pair.rejected))
    return bool(said) and any(answer.startswith(said) for answer in answers)


def _characters(turns: Sequence[Message]) -> int:
    return sum(len(message["content"]) for message in turns)


def _lengths(examples: Sequence[Example]) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = {}
    for example in examples:
        for part, turns in _parts(example).items():
            parts.setdefault(part, []).append(_characters(turns))
    return {part: nearest_rank(values, QUANTILES) for part, values in parts.items()}


def _parts(example: Example) -> dict[str, list[Message]]:
    if isinstance(example, Preference):
        return {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
    if isinstance(example, Labeled):
        return {"prompt": example.prompt, "good" if example.label else "bad": example.completion}
    if isinstance(example, Demonstration):
        return {"prompt": prompt_of(example), "answer": example.messages[-1:]}
    return {"prompt": example.prompt}


def print_report(report: FileReport, console: Console) -> None:
    """Print the report as tables; text from the file is printed unchanged, never as markup."""
    loaded = report.loaded
    console.print(Text(loaded.source, style="bold"))
    console.print(Text(f"{loaded.sentence}."))
    console.print(Text(f"layout {loaded.layout}\nsha256 {loaded.sha256}", style="dim"))
    if report.other_columns:
        console.print(Text(f"not trained on: {', '.join(report.other_columns)} (kept for reward functions)"))
    if loaded.examples:
        console.print(_counts_table(report))
        console.print(_lengths_table(report))
    if report.bad:
        console.print(_bad_table(report))
    console.print(Text(report.verdict, style="red" if report.bad else "green"))
    print_as_pairs(loaded, "data check", console)


def print_as_pairs(loaded: Loaded, verb: str, console: Console) -> None:
    """Print how to read a file of prompts as preference pairs, if its columns look like pairs.

    `verb` is the command to print.
    """
    if loaded.as_pairs:
        console.print(Text(f"{pairs_in_words(loaded.as_pairs)}:", style=WARNING))
        print_command(console, command_with(verb, loaded.source, loaded.as_pairs))


def section_table(title: str, *headings: str) -> Table:
    """Return an empty table with a title and headings, in the style of the report."""
    return Table(*headings, title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)


def _counts_table(report: FileReport) -> Table:
    table = section_table("Counts", "")
    for heading in ("examples", "share"):
        table.add_column(heading, justify="right")
    table.add_column("why it matters", style="dim")
    table.add_row("all", f"{len(report.loaded.examples):,}", "", "")
    for c in report.counts:
        table.add_row(c.label, f"{c.count:,}", percent(c.count / c.total, 1), c.why)
    return table


def _lengths_table(report: FileReport) -> Table:
    table = section_table("Lengths in characters", "")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for part, values in report.lengths.items():
        table.add_row(part, *(f"{value:,}" for value in values))
    return table


def _bad_table(report: FileReport) -> Table:
    table = section_table("Malformed rows", "row", "field")
    table.add_column("what is wrong", overflow="fold")
    for bad in report.bad:
        table.add_row(f"{bad.row:,}", Text(bad.field), Text(bad.message))
    return table
