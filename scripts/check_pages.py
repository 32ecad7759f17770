"""Check every kind of page as it is seen on a laptop, on phones, in the dark and in print.

    python scripts/check_pages.py                   all kinds (page_kinds.py), and build/site
    python scripts/check_pages.py report sweep      some kinds
    python scripts/check_pages.py PAGE.html …       pages that are there already; needs no run
    python scripts/check_pages.py --shots FOLDER …  also write a screenshot of every page and setting

A line for every page and setting, and below it the elements that are wrong: wider than the screen, paler than
WCAG 2.2 AA allows, words on other words in a drawing, drawings and images without a text, controls without a
name or out of reach of the Tab key, and files larger than 1 MB. Ends with code 1 where there is one. Needs
Chromium on the path, or its executable in CHROMIUM.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.reports.looks import SETTINGS, faults, show_as  # noqa: E402

ARTICLE = "article"
"""Where the text of a page of the documentation is."""
LARGEST = 1_000_000
"""Bytes of a file."""
PATIENCE = 300_000
"""Milliseconds for a page to open, on a machine that is busy with other work."""


def pages(wanted: list[str], stack: ExitStack) -> Iterator[tuple[str, str]]:
    """Name and address of every page; servers run until the stack is closed."""
    files = [Path(name).resolve() for name in wanted if name.endswith(".html")]
    kinds = [name for name in wanted if not name.endswith(".html")]
    yield from ((str(file), file.as_uri()) for file in files)
    if files and not kinds:
        return
    import page_kinds  # imports the package, which pages that are there do not need

    known = [*page_kinds.PAGES, *page_kinds.OTHERS, "arena", "arena-result", "site"]
    if unknown := set(kinds) - set(known):
        sys.exit(f"no page is called {', '.join(sorted(unknown))}; there are {', '.join(known)}.")
    page_kinds.work_folder()
    makers = page_kinds.PAGES | page_kinds.OTHERS
    for name in kinds or known:
        if name in makers:
            yield name, makers[name]()
        elif name == "site":
            yield from ((Path(unquote(urlsplit(url).path)).name, url) for url in page_kinds.site())
        else:
            yield name, stack.enter_context(page_kinds.arena(votes=9 if name == "arena-result" else 0))


def too_large(url: str) -> list[str]:
    """A sentence on a file that is larger than `LARGEST`."""
    address = urlsplit(url)
    size = Path(unquote(address.path)).stat().st_size if address.scheme == "file" else 0
    return [f"the file has {size / 1e6:.2f} MB, more than 1 MB"] if size > LARGEST else []


def check(browser: Any, name: str, url: str, shots: Path | None) -> int:
    """Print a line for every setting of a page, and its faults; returns their number.

    Of the documentation the text is judged, not the theme around it.
    """
    within = ARTICLE if "/site/" in url else "body"
    page, count = browser.new_page(), 0
    page.set_default_timeout(PATIENCE)
    show_as(page, SETTINGS["laptop"])
    page.goto(url)
    page.wait_for_load_state("networkidle")
    for setting, shown in SETTINGS.items():
        show_as(page, shown)
        found = [*faults(page, within), *(too_large(url) if setting == "laptop" else [])]
        count += len(found)
        print(f"{name}, {setting}: {f'{len(found)} wrong' if found else 'ok'}", flush=True)
        for fault in found:
            print(f"    {fault}", flush=True)
        if shots is not None:
            page.screenshot(path=shots / f"{Path(name).stem}-{setting.replace(' ', '-')}.png", full_page=True)
    page.close()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description="Check every kind of page; see the head of this file.")
    parser.add_argument("names", nargs="*", metavar="NAME|FILE")
    parser.add_argument("--shots", type=Path, metavar="FOLDER", help="folder for screenshots")
    options = parser.parse_args()
    shots = options.shots and options.shots.resolve()
    if shots is not None:
        shots.mkdir(parents=True, exist_ok=True)
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        sys.exit("there is no chromium on the path; set CHROMIUM to its executable.")
    with ExitStack() as stack:
        made = list(pages(options.names, stack))  # before a browser waits for them
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            count = sum(check(browser, name, url, shots) for name, url in made)
            browser.close()
    sys.exit(f"{count} wrong" if count else 0)


if __name__ == "__main__":
    main()
