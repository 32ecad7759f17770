"""How long the page of a comparison takes to open, with 5,000 prompts answered by two runs.

    python benchmarks/open_page.py [--repeats 5]

Two runs of the test suite's shape are written, with their samples repeated, and compared. Headless Chromium
starts anew for every opening; the clock runs from the navigation until the first samples are drawn.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import sync_playwright  # noqa: E402
from tests.reports.fake_run import write_fake_run  # noqa: E402

from boresight.reports.compare import write_comparison  # noqa: E402

TIMES = 84
"""Of 60 samples: 5,040."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        page = written(Path(folder))
        size = page.stat().st_size / 1e6
        seconds = [opened(page) for _ in range(repeats)]
    print(f"{60 * TIMES:,} prompts, two runs, {size:.1f} MB: {statistics.median(seconds):.2f} s "
          f"({min(seconds):.2f}-{max(seconds):.2f}) from navigation to the first samples")  # fmt: skip


def written(folder: Path) -> Path:
    """The page of two runs with 5,040 samples each."""
    runs = [write_fake_run(folder / name, steps=200) for name in ("a", "b")]
    for run in runs:
        lines = (run / "samples.jsonl").read_text().splitlines()
        many = (line.replace('"id": "', f'"id": "{n}-', 1) for n in range(TIMES) for line in lines)
        (run / "samples.jsonl").write_text("".join(f"{line}\n" for line in many))
    return write_comparison(runs, folder / "compare.html").page


def opened(page: Path) -> float:
    """Seconds until a fresh browser shows the first samples."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page()
        started = time.perf_counter()
        tab.goto(page.as_uri())
        tab.wait_for_selector(".sample")
        seconds = time.perf_counter() - started
        assert tab.locator("#count").inner_text() == "5,040 prompts", tab.locator("#count").inner_text()
        browser.close()
    return seconds


if __name__ == "__main__":
    main()
