"""Screenshots of every kind of page for the documentation, docs/figures/page-NAME.png.

python scripts/screenshots.py [NAME …]

The pages are those of page_kinds.py. Needs Chromium on the path, or its executable in CHROMIUM.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from page_kinds import PAGES, ROOT, arena, chromium, work_folder
from PIL import Image
from playwright.sync_api import sync_playwright

FIGURES = ROOT / "docs" / "figures"
WIDTH, HEIGHT = 1200, 900
"""Pixels of CSS; a page is shown from its top, and a short one to its end."""
MARGIN = 24
"""Pixels below the end of a short page."""
PATIENCE = 300_000
"""Milliseconds for a page to open, on a machine that is busy with other work."""
COLORS, LARGEST = 256, 120_000
"""Colors of a palette, and bytes of a file."""


def shoot(browser: Any, url: str, name: str) -> None:
    """The top of a page as a PNG with a palette.

    Raises:
        SystemExit: the file would be larger than `LARGEST`.
    """
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.wait_for_load_state("networkidle")
    end = page.evaluate(
        "Math.max(...[...document.body.children].map(part => part.getBoundingClientRect().bottom))"
    )
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": min(HEIGHT, end + MARGIN)}
    image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    page.close()
    target = FIGURES / f"page-{name}.png"
    image.quantize(COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(target, optimize=True)
    size = target.stat().st_size
    print(f"{target.relative_to(ROOT)}: {image.width} x {image.height}, {size / 1e3:.0f} kB")
    if size > LARGEST:
        sys.exit(f"{target}: larger than {LARGEST / 1e3:.0f} kB; take fewer colors.")


def main(names: list[str]) -> None:
    unknown = set(names) - {*PAGES, "arena"}
    if unknown:
        sys.exit(f"no page is called {', '.join(sorted(unknown))}; there are {', '.join([*PAGES, 'arena'])}.")
    executable = chromium()
    work_folder()
    wanted = names or [*PAGES, "arena"]
    urls = {name: PAGES[name]() for name in wanted if name in PAGES}  # before a browser waits for them
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for name, url in urls.items():
            shoot(browser, url, name)
        if "arena" in wanted:
            with arena() as url:
                shoot(browser, url, "arena")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
