"""Numbers of a page that are tied to a `results.csv` of a study, and what is wrong with them.

    <!-- results docs/study/laptop/results.csv methods -->
    | arm | reward | verifier calls |
    |---|---|---|
    | online DPO | 65.1 % [62.2, 67.8] | 1,280 |

The first cell is the title of an arm of the block, or of a question where no block is named; the head has
names of columns. In a sentence a number stands before its comment:

    It solves 65.1 % [62.2, 67.8]<!-- result docs/study/laptop/results.csv methods/online-dpo/reward -->.

The middle is the name or the title of an arm; of a question it is the title, and nothing stands before the
first slash. Every number is as `results.csv` prints it; n at its end may be left out.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.docs.snippets import ROOT

TABLE = re.compile(r"<!-- results (\S+)(?: (\S+))? -->\s*\n((?:[ \t]*\|.*\n?)*)")
SENTENCE = re.compile(r"<!-- result (\S+) ([^>]*?) -->")
ANY = re.compile(r"<!--\s*results?\b.*?-->", re.S)
NOTHING = ("", "-", "–")

Texts = Mapping[tuple[str, str], set[str]]
"""Printed texts by arm or question and column."""


def wrong_numbers(text: str, root: Path = ROOT) -> list[str]:
    """What is wrong with the tied numbers of a page, a line each; empty where all are right."""
    known = {match.start() for pattern in (TABLE, SENTENCE) for match in pattern.finditer(text)}
    wrong = [f"{m.group()}: not understood" for m in ANY.finditer(text) if m.start() not in known]
    for match in TABLE.finditer(text):
        wrong += _in_table(match.group(3), _texts(root / match.group(1), match.group(2) or ""))
    for match in SENTENCE.finditer(text):
        wrong += _in_sentence(text[: match.start()], match.group(1), match.group(2), root)
    return wrong


def _in_table(table: str, texts: Texts) -> Iterator[str]:
    lines = [_cells(line) for line in table.splitlines()]
    if len(lines) < 3:
        yield "a comment without a table after it"
        return
    columns = lines[0][1:]
    for title, *cells in lines[2:]:
        for column, cell in zip(columns, cells, strict=True):
            yield from _compared(f"{title}, {column}", cell, texts.get((title, column), set()), whole=True)


def _in_sentence(before: str, path: str, key: str, root: Path) -> Iterator[str]:
    block, _, rest = key.partition("/")
    name, _, column = rest.rpartition("/")
    found = _texts(root / path, block).get((name, column), set())
    if not found:
        yield f"{key}: {path} has no such number"
        return
    yield from _compared(key, _plain(before), found, whole=False)


def _compared(what: str, written: str, found: set[str], whole: bool) -> Iterator[str]:
    if len(found) > 1:
        yield f"{what}: stands for several numbers, {' and '.join(sorted(found))}"
        return
    if not found:
        if written not in NOTHING:
            yield f"{what}: {written!r} is no result"
        return
    (text,) = found
    short = text.partition(", n = ")[0]
    right = written in (text, short) if whole else any(_ends(written, each) for each in (text, short))
    if not right:
        yield f"{what}: {written[-len(text) :]!r} is written, {text!r} was measured"


def _ends(written: str, text: str) -> bool:
    """Whether a sentence ends with a number, and not with the rest of a longer one."""
    before = written.removesuffix(text)
    return before != written and not re.search(r"[\w.,+-]$", before)


@cache
def _texts(path: Path, block: str) -> Texts:
    texts: dict[tuple[str, str], set[str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["block"] != block:
                continue
            for name in {row["name"], row["title"]} if block else {row["title"]}:
                key = _unquoted(name), row["column"]
                texts.setdefault(key, set()).add(_plain(_unquoted(row["text"])))
    return texts


def _unquoted(cell: str) -> str:
    """Without the apostrophe that keeps spreadsheets from reading a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in "=+-@" else cell


def _cells(line: str) -> list[str]:
    parts = re.split(r"(?<!\\)\|", line.strip().strip("|"))
    return [_plain(part.replace("\\|", "|")).strip("*` ") for part in parts]


def _plain(text: str) -> str:
    """Blanks of any kind as one space, a typeset minus as a hyphen, no emphasis."""
    return re.sub(r"\s+", " ", text.replace("\N{MINUS SIGN}", "-")).replace("**", "").strip()
