"""The wordings of docs/glossary.yaml occur nowhere that people read: pages, help, messages, source files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.docs.prose import Prose, files_with_prose, prose_of
from tests.docs.snippets import ROOT

GLOSSARY = yaml.safe_load((ROOT / "docs" / "glossary.yaml").read_text(encoding="utf-8"))
TERMS = GLOSSARY["terms"]


BLANK = r"(?:[^\S\n]+\n?[^\S\n]*|\n[^\S\n]*)"
"""What a blank of an expression matches: blanks and one line break, but no end of a paragraph."""


def expression(term: dict) -> re.Pattern[str]:
    """The compiled `wrong` of an entry."""
    return re.compile(re.sub(" ", lambda _: BLANK, term["wrong"]), re.IGNORECASE)


PATTERNS = [(term, expression(term)) for term in TERMS]


def is_in(name: str, places: dict[str, str]) -> bool:
    """Whether a file is one of these, or in a folder of them."""
    return any(name == place or (place.endswith("/") and name.startswith(place)) for place in places)


def without_old_entries(text: Prose) -> Prose:
    """The log without its dated entries from before the glossary."""
    newer = re.split(r"(?m)^(?=## )", text.text)
    dates = (re.match(r"## (\d{4}-\d\d-\d\d)", part) for part in newer)
    since = str(GLOSSARY["log_from"])
    kept = (
        re.sub(r"[^\n]", "", part) if date and date[1] < since else part
        for part, date in zip(newer, dates, strict=True)
    )
    return Prose(text.line, "".join(kept))


def hits(name: str, texts: list[Prose]) -> Iterator[tuple[dict, str]]:
    """Each unwanted wording of a file, by its place in the repository, with the sentence that names it."""
    for text in texts:
        for term, pattern in PATTERNS:
            for found in pattern.finditer(text.text):
                line = text.line + text.text[: found.start()].count("\n")
                wording = " ".join(found[0].split())
                yield term, f'{name}:{line}: "{wording}"; write: {term["use"]} ({term["why"]})'


@pytest.fixture(scope="module")
def everything() -> dict[str, list[tuple[dict, str]]]:
    """All hits by file, those in allowed places included."""
    found = {}
    for path in files_with_prose(ROOT):
        name = path.relative_to(ROOT).as_posix()
        if not is_in(name, GLOSSARY["unread"]):
            texts = prose_of(path)
            texts = [without_old_entries(text) for text in texts] if name == "docs/log.md" else texts
            found[name] = list(hits(name, texts))
    return found


def test_no_unwanted_wording(everything):
    wrong = [
        sentence
        for name, found in everything.items()
        for term, sentence in found
        if not is_in(name, term.get("allowed", {}))
    ]
    assert not wrong, f"{len(wrong)} wordings that docs/glossary.yaml replaces:\n" + "\n".join(wrong)


def test_every_allowed_place_needs_its_permission(everything):
    """A permission that nothing uses would hide the next hit."""
    needless = [
        f"{term['wrong']}: {place}"
        for term in TERMS
        for place in term.get("allowed", {})
        if not any(
            term is hit and is_in(name, {place: ""}) for name, found in everything.items() for hit, _ in found
        )
    ]
    assert not needless


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term["example"])
def test_every_entry_finds_its_example_and_gives_a_better_wording(term):
    assert expression(term).search(term["example"])
    assert term["use"] and term["why"] and all(term.get("allowed", {"": "-"}).values())


@pytest.mark.parametrize(
    ("name", "source", "line"),
    [
        ("page.md", "# Title\n\nThe report\nsays so.\n", 4),
        ("page.md", "    code\n\n```\ncode\n```\n\n`code` <!-- note -->\n\nIt says so.\n", 9),
        ("module.py", '"""Does a thing.\n\nIt says\nwhy.\n"""\n', 3),
        ("module.py", 'x = 1\nprint(f"{x} says why")\n', 2),
        ("module.py", "x = 1\n# It says\n# why.\n", 2),
        ("module.py", 'import typer\ntyper.Option(help="Says why.")\n', 2),
        ("recipe.yaml", "a: 1  # says why\n", 1),
        ("page.html.j2", "<p>\nIt says why.</p>\n", 2),
    ],
)
def test_a_planted_wording_is_found_with_its_place(tmp_path, name, source, line):
    (tmp_path / name).write_text(source)
    ((_, sentence),) = hits(name, prose_of(tmp_path / name))
    assert sentence.lower().startswith(f'{name}:{line}: "says"; write: prints, reports')


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("page.md", "```\nit says\n```\n\n`says`, [a](says.md)\n\n    it says\n"),
        ("module.py", 'says = {"says": 1}["says"]\n'),
        ("recipe.yaml", "says: 1\n"),
    ],
)
def test_code_is_not_prose(tmp_path, name, source):
    (tmp_path / name).write_text(source)
    assert not list(hits(name, prose_of(tmp_path / name)))


def test_old_entries_of_the_log_stay_as_they_were_written():
    log = "# Log\n\n## 2026-11-01 Old\n\nIt says so.\n\n## 2027-01-01 New\n\nIt says so.\n"
    ((_, sentence),) = hits("docs/log.md", [without_old_entries(Prose(1, log))])
    assert sentence.startswith("docs/log.md:9:")


def test_every_help_text_is_among_the_sources():
    """Help of commands is docstrings and `help=` of src/boresight/cli; that of recipes is its docstrings."""
    read = {path.relative_to(ROOT) for path in files_with_prose(ROOT)}
    for file in (Path("src/boresight/cli/main.py"), Path("src/boresight/config/recipe.py")):
        assert file in read
