"""Screenshots of every kind of page for the documentation, docs/figures/page-NAME.png.

python scripts/screenshots.py [NAME …]

Report, comparison, sweep, win rate and arena show runs of the model with 0.87M parameters, which are made in
build/screenshots (minutes on two cores) and used again by the next call. The study is the committed page, the
leaderboard the committed table. Needs Chromium on the path, or its executable in CHROMIUM.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console

import boresight
from boresight.arena.duels import read_duels
from boresight.arena.server import Arena
from boresight.arena.votes import Votes
from boresight.experiments.sweep.command import run_sweep_recipe
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.reports.leaderboard import write_leaderboard

ROOT = Path(__file__).parents[1]
FIGURES, WORK = ROOT / "docs" / "figures", ROOT / "build" / "screenshots"
WIDTH, HEIGHT = 1200, 900
"""Pixels of CSS; a page is shown from its top, and a short one to its end."""
MARGIN = 24
"""Pixels below the end of a short page."""
COLORS, LARGEST = 256, 120_000
"""Colors of a palette, and bytes of a file."""
TRAINED = {
    "train": {"steps": 120, "eval_every": 20},
    "data": {"eval_rows": 200},
    "evaluate": {"rewarded": 200, "samples": 60},
}
RATES = {"lr-2e-3": 2e-3, "lr-3e-4": 3e-4}
SWEEP = {
    "recipe": "countdown-tiny/sft",
    "set": {
        "train.steps": 24,
        "train.eval_every": 8,
        "train.guard": None,  # from random weights all answers are alike for a while
        "data.eval_rows": 100,
        "evaluate.rewarded": 50,
        "evaluate.samples": 8,
    },
    "space": {"optim.lr": [5e-4, 2e-3, 8e-3]},
    "metric": "nll_per_token",
    "confirm": {"top": 1, "seeds": 2},
}


def trained(name: str) -> Path:
    """A run of supervised training on Countdown at one of `RATES`."""
    folder = Path("runs") / name
    if not (folder / "report.html").is_file():
        boresight.train("countdown-tiny/sft", run=folder, optim={"lr": RATES[name]}, **TRAINED)
    boresight.report(folder)
    return folder


def report() -> str:
    return file_url(trained("lr-2e-3") / "report.html")


def compare() -> str:
    runs = [trained(name) for name in RATES]
    return file_url(boresight.compare(*runs, out="compare.html").page)


def sweep() -> str:
    page, _ = run_sweep_recipe(SweepRecipe.parse(SWEEP), Path("runs/sweep"), Console())
    return file_url(page)


def study() -> str:
    """The first block of the comparison on a laptop, whose runs are complete."""
    return file_url(ROOT / "docs" / "study" / "laptop" / "index.html") + "#block-easy"


def win_rate() -> str:
    """Answers of the two runs to the same puzzles, by the verifier."""
    folder = Path("runs/win-rate")
    shutil.rmtree(folder, ignore_errors=True)
    recipe = {
        "prompts": "generate:countdown-tiny-held-out",
        "limit": 60,
        "systems": {name: {"answers": str(trained(name))} for name in reversed(RATES)},
        "judge": {"name": "countdown"},
    }
    return file_url(boresight.evaluate(recipe, run=folder).page)


def leaderboard() -> str:
    table = ROOT / "src" / "boresight" / "recipes" / "study" / "leaderboard.csv"
    page, _ = write_leaderboard(table, Path("leaderboard.html"), 0.10)
    return file_url(page)


def file_url(page: Path) -> str:
    return page.resolve().as_uri()


PAGES: dict[str, Callable[[], str]] = {
    "report": report,
    "compare": compare,
    "sweep": sweep,
    "study": study,
    "win-rate": win_rate,
    "leaderboard": leaderboard,
}


@contextmanager
def arena() -> Iterator[str]:
    """The address of a running arena of the two runs, whose votes are thrown away."""
    folder = Path("runs/arena")  # as it stands on the page, without the folders of this machine
    shutil.rmtree(folder, ignore_errors=True)
    duels = read_duels(*(trained(name) for name in RATES))
    votes = Votes(folder, duels.names)
    with Arena(duels, votes) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()
    votes.close()


def shoot(browser: Any, url: str, name: str) -> None:
    """The top of a page as a PNG with a palette.

    Raises:
        SystemExit: the file would be larger than `LARGEST`.
    """
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
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
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        sys.exit("there is no chromium on the path; set CHROMIUM to its executable.")
    WORK.mkdir(parents=True, exist_ok=True)
    os.chdir(WORK)
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
