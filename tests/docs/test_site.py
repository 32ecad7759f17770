"""What can be said of the site without building it; `make docs` builds it and refuses dead links."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.snippets import ROOT

DOCS = ROOT / "docs"
SETTINGS = (ROOT / "mkdocs.yml").read_text()


def test_every_page_is_in_the_navigation_once():
    pages = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    listed = sorted(re.findall(r"^ +- (?:[^:\n]+: )?([\w/.-]+\.md)$", SETTINGS, re.M))
    assert pages == listed, "add the page to nav in mkdocs.yml, or take it out"


def anchors(page: Path) -> set[str]:
    """Ids of the headings of a page, as Python-Markdown makes them, and its ids of earlier headings."""
    text = re.sub(r"(?ms)^```.*?^```\s*$", "", page.read_text(encoding="utf-8"))
    headings = [
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", found) for found in re.findall(r"^#+ (.+)$", text, re.M)
    ]
    plain = [
        re.sub(r"[^\w\s-]", "", unicodedata.normalize("NFKD", h).encode("ascii", "ignore").decode())
        for h in headings
    ]
    return {re.sub(r"[-\s]+", "-", h.strip().lower()) for h in plain} | set(
        re.findall(r'<a id="([^"]+)"', text)
    )


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Every link of a page to a page or anchor: as it is written, the file, and the anchor, maybe empty."""
    text = re.sub(r"(?ms)^```.*?^```\s*$|`[^`\n]+`", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield target, (page.parent / file).resolve() if file else page, anchor


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_to_a_page_and_a_heading_of_it(page):
    """`make docs` checks the same, and takes minutes. Ids on reference.md are made from the sources."""
    for target, file, anchor in links(page):
        assert file.exists(), f"{page.name}: {target}: there is no such file"
        if anchor and file.suffix == ".md" and file.name != "reference.md":
            assert anchor in anchors(file), f"{page.name}: {target}: no heading makes this anchor"


def test_the_tasks_come_first_and_in_order():
    """The navigation, the first page's table and the order of a newcomer's work are one."""
    tasks = [
        *("install.md", "quickstart.md", "data-formats.md", "methods.md", "will-it-work.md", "report.md"),
        *("scaling.md", "export.md", "troubleshooting.md", "trl.md"),
    ]
    start = SETTINGS.split("- Start:")[1].split("- Understand:")[0]
    assert [page for page in re.findall(r"[\w/-]+\.md$", start, re.M) if page in tasks] == tasks
    table = (DOCS / "index.md").read_text(encoding="utf-8")
    firsts = [
        re.findall(r"\((\S+?\.md)\)", row)[0]
        for row in table.splitlines()
        if row.startswith("| ") and ".md" in row
    ]
    assert firsts == tasks


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


def test_search_has_what_it_needs_on_pages_from_the_disk():
    """An index that is a script, and a file in place of the plugin's own, which would come from a server."""
    assert re.search(r"^  - offline$", SETTINGS, re.M)
    (file,) = re.findall(r"^    - (\S*iframe-worker\S*)", SETTINGS, re.M)
    assert (DOCS / file).is_file()


@pytest.mark.browser
def test_a_worker_of_a_page_from_the_disk_gets_and_sends_messages(tmp_path):
    """Messages before the script is loaded, relative addresses, and scripts that the worker imports."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not executable:
        pytest.skip("there is no chromium on the path; set CHROMIUM to its executable")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "double.js").write_text("self.double = (x) => 2 * x;")
    (tmp_path / "sub" / "worker.js").write_text(
        "addEventListener('message', async ({ data }) => {"
        " await importScripts('double.js'); postMessage(self.double(data)); });"
    )
    shutil.copy(DOCS / "iframe-worker.js", tmp_path)
    (tmp_path / "page.html").write_text(
        "<!doctype html><script src='iframe-worker.js'></script><body><script>"
        "const worker = new Worker('sub/worker.js');"
        "worker.addEventListener('message', ({ data }) => { document.title = data; });"
        "worker.postMessage(21);</script>"
    )
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_function("document.title === '42'")
        browser.close()
