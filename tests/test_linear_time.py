"""Regular expressions of the package need time in proportion to the text, whatever the text.

Texts of data, models, judges and servers are matched. An expression that tries every end for every start is
quadratic: 100 KB of line breaks then take minutes. Every expression in the source is tried, in the ways in
which it is used, on texts made of its own characters and words.
"""

from __future__ import annotations

import ast
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from boresight.data.reading import files
from boresight.llm.replies.reply import Reply
from boresight.scorers.judges.llm import read_verdict

ROOT = Path(__file__).parents[1] / "src"
SOURCES = {file: file.read_text(encoding="utf-8") for file in sorted(ROOT.rglob("*.py"))}
WAYS = {"search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"}
SHORT, LONG = 4_000, 16_000
MOST = 9.0
"""Growth of the time from `SHORT` to `LONG`: 4 is linear, 16 quadratic."""
NOTICEABLE = 0.002
"""Seconds that a quadratic expression needs for `SHORT` by far, and a linear one does not."""


def expressions() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Place, source and uses of every expression of the package."""
    for file, text in SOURCES.items():
        tree = ast.parse(text)
        named = {n.value: ast.unparse(n.targets[0]) for n in ast.walk(tree) if isinstance(n, ast.Assign)}
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and getattr(called.value, "id", "") == "re":
                ways = {called.attr} & WAYS or _uses(named.get(node))
                yield f"{file.relative_to(ROOT)}:{node.lineno}", _constant(node.args[0]), frozenset(ways)


def _uses(name: str | None) -> set[str]:
    """Methods that are called on a compiled expression; all where its name is not known."""
    calls = re.compile(rf"\b{re.escape(name or '-')}\.(\w+)\(")
    return {way for text in SOURCES.values() for way in calls.findall(text)} & WAYS or WAYS


def _constant(node: ast.expr) -> str:
    """A literal, or the literal parts of a sum with `re.escape(…)`."""
    if isinstance(node, ast.BinOp):
        return _constant(node.left) + _constant(node.right)
    return str(node.value) if isinstance(node, ast.Constant) else ""


FOUND = {place: (source, ways) for place, source, ways in expressions() if source}


def hostile(source: str) -> Iterator[tuple[str, str, str]]:
    """Beginnings, units to repeat, and ends, of the characters and words of an expression."""
    plain = re.sub(r"\\[A-Za-z]|\(\?P<\w+>", "|", source)
    signs = sorted({*plain, *" \n\t1a,.-é"})
    words = ["", *dict.fromkeys(re.findall(r"[\w '<>/:]{3,}", plain))]
    for word, sign, tail in itertools.product(words, signs, ("", "\ue000")):
        yield word, sign, tail
        yield "", word + sign, tail
        yield "", word + sign + "\n", tail


def seconds(pattern: re.Pattern[str], ways: frozenset[str], text: str) -> float:
    """Processor time of the ways in which an expression is used."""
    started = time.process_time()
    if ways - {"match", "fullmatch"}:
        for _ in pattern.finditer(text):
            pass
    if "match" in ways:
        pattern.match(text)
    if "fullmatch" in ways:
        pattern.fullmatch(text)
    return time.process_time() - started


def growth(pattern: re.Pattern[str], ways: frozenset[str], parts: tuple[str, str, str]) -> float:
    """How many times longer the text of `LONG` characters takes than that of `SHORT`; 0 for no time."""
    start, unit, tail = parts
    short, long = (start + unit * (length // len(unit)) + tail for length in (SHORT, LONG))
    least = seconds(pattern, ways, short)
    if least < NOTICEABLE:
        return 0.0
    least = min(least, seconds(pattern, ways, short))
    return min(seconds(pattern, ways, long) for _ in range(2)) / least


def slow_text(source: str, ways: frozenset[str]) -> tuple[str, str, str] | None:
    """Beginning, unit and end of a text for which an expression is worse than linear."""
    pattern = re.compile(source, re.IGNORECASE | re.MULTILINE)
    return next((parts for parts in hostile(source) if growth(pattern, ways, parts) > MOST), None)


@pytest.mark.parametrize("place", FOUND)
def test_time_is_proportional_to_the_text(place):
    assert slow_text(*FOUND[place]) is None


QUADRATIC = {
    r"^[\s*]*verdict": "finditer",
    r"\s*,?\s*i cannot": "match",
    r"(\d+)([bm])": "search",
    r"<answer>(.*?)</answer>": "findall",
}
"""Faults that the package had, and the public Countdown grader has."""


@pytest.mark.parametrize("source", QUADRATIC)
def test_a_quadratic_expression_is_found(source):
    assert slow_text(source, frozenset({QUADRATIC[source]})) is not None


def test_no_expression_comes_from_data():
    """Expressions are constants of the source, or constants around an escaped text."""
    functions = {f"re.{way}" for way in (*WAYS, "compile")}
    made = [
        (file.name, ast.unparse(node))
        for file, text in SOURCES.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in functions
        if any(
            isinstance(part, ast.Name) and part.id not in {"re", "phrase", "stem"}
            for part in ast.walk(node.args[0])
        )
    ]
    assert made == []


@pytest.mark.parametrize("unit", ["\n", " \n", "**", "> ", "verdict: ", "verdict:\n", "\u2028"])
def test_a_judge_writes_what_it_likes_around_its_verdict(unit):
    hostile = unit * 200_000
    verdict, failure = read_verdict(Reply(f"{hostile}\n **Verdict**: 2.\n{hostile}"), "a")
    assert (verdict.preference, failure) == (0.0, "")
    assert read_verdict(Reply(hostile), "a")[1].startswith("no verdict line in the reply")


def test_values_one_after_another_are_read_in_linear_time(tmp_path, monkeypatch):
    """Each value was looked for in a copy of the rest of the file."""
    (tmp_path / "many.json").write_text('{\n"prompt": "a"}\n' * 30_000)
    assert sum(1 for _ in files.records(tmp_path / "many.json")) == 30_000
