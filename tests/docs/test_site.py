"""What can be said of the site without building it; `make docs` builds it and refuses dead links."""

from __future__ import annotations

import importlib.util
import re

import pytest

from tests.docs.snippets import ROOT

DOCS = ROOT / "docs"
SETTINGS = (ROOT / "mkdocs.yml").read_text()


def test_every_page_is_in_the_navigation_once():
    pages = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    listed = sorted(re.findall(r"^ +- (?:[^:\n]+: )?([\w/.-]+\.md)$", SETTINGS, re.M))
    assert pages == listed, "add the page to nav in mkdocs.yml, or take it out"


def test_nothing_is_loaded_from_another_server():
    assert "font: false" in SETTINGS
    assert not re.search(r"https?://", SETTINGS)


def test_equations_become_mathml_on_one_line():
    page = "before\n\n```math\nL = -\\log\\sigma(\\beta h)\n```\n\nafter\n"
    done = equations().on_page_markdown(page)
    (line,) = (text for text in done.splitlines() if "<math" in text)
    assert line.startswith('<div class="equation">') and line.endswith("</div>")
    assert "```" not in done and "&#x003C3;" in line, "a Greek sigma"


def equations():
    """docs/equations.py, which is no package; skips where what it needs is not installed."""
    pytest.importorskip("latex2mathml")
    spec = importlib.util.spec_from_file_location("docs_equations", DOCS / "equations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
