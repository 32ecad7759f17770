"""Every kind of page has a screenshot that a page of the documentation shows with alt text and a caption."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.snippets import ROOT

FIGURES = ROOT / "docs" / "figures"
SCRIPT = ROOT / "scripts" / "page_kinds.py"
LARGEST = 120_000
SHOWN = re.compile(
    r"!\[(?P<alt>[^\]]+)\]\(figures/page-(?P<name>[\w-]+)\.png\)\n\*(?P<caption>[^*]+)\*\n", re.M
)


def pages() -> set[str]:
    """Names in the table of scripts/page_kinds.py, and the arena, which needs a server."""
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    (table,) = (
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and node.target.id == "PAGES"
    )
    return {key.value for key in table.keys} | {"arena"}


def shown() -> dict[str, re.Match[str]]:
    texts = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    return {found["name"]: found for found in SHOWN.finditer(texts)}


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_screenshot_is_small_and_shown_with_alt_text_and_a_caption(name):
    file = FIGURES / f"page-{name}.png"
    assert file.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and file.stat().st_size <= LARGEST
    found = shown()[name]
    assert len(found["alt"].split()) > 4, "the alt text describes the picture"
    assert found["caption"].endswith(".") and found["caption"].count(". ") == 0, "one sentence"


def test_there_is_no_other_screenshot():
    assert {file.stem.removeprefix("page-") for file in FIGURES.glob("page-*.png")} == pages() == set(shown())
