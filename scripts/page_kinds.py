"""One page of every kind, for screenshots and checks; what needs runs is made in build/screenshots.

Report, comparison, sweep, win rate and arena show runs of the model with 0.87M parameters
(minutes on two cores), which are used again by the next call. The studies are the committed pages, the
leaderboard is the committed table; graded answers and documents of tasks are made up.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from rich.console import Console

import boresight
from boresight.arena.duels import read_duels
from boresight.arena.server import Arena
from boresight.arena.votes import Votes
from boresight.core.schema import Prompt
from boresight.evaluation.graded.comparison import RewardComparison
from boresight.evaluation.graded.grading import GradedResponse, GradedSystem
from boresight.evaluation.harness.comparison import TaskComparison
from boresight.evaluation.harness.documents import Document
from boresight.evaluation.response import Response
from boresight.experiments.sweep.command import run_sweep_recipe
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.reports.evaluations.graded import write_graded_page
from boresight.reports.evaluations.tasks import write_tasks_page
from boresight.reports.leaderboard import write_leaderboard
from boresight.tasks.reading import AnswerReading

ROOT = Path(__file__).parents[1]
WORK, SITE = ROOT / "build" / "screenshots", ROOT / "build" / "site"
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


def work_folder() -> Path:
    """Make build/screenshots the working folder, so that pages show no path of this machine."""
    WORK.mkdir(parents=True, exist_ok=True)
    os.chdir(WORK)
    return WORK


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


def study_of_arms() -> str:
    return file_url(ROOT / "docs" / "study" / "cpu" / "index.html")


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


def graded() -> str:
    """Two completions each of 40 questions, of which the second system solves more."""
    systems = [_graded("start", 10), _graded("trained", 25)]
    return file_url(write_graded_page(Path("graded.html"), RewardComparison(systems, [1, 2], 1.0, {})))


def _graded(name: str, right: int) -> GradedSystem:
    """The first `right` questions are always solved, the others by the first completion alone."""
    prompts = tuple(Prompt([{"role": "user", "content": f"Question {i}?"}], f"q{i}") for i in range(40))

    def one(i: int, j: int) -> GradedResponse:
        reward = float(i < right or j == 0)
        text = f"answer {i}" if reward else "no answer"
        return GradedResponse(
            Response(text, False), reward, {"own": reward}, AnswerReading(text, True, ()), 0.0
        )

    return GradedSystem(name, prompts, tuple((one(i, 0), one(i, 1)) for i in range(40)))


def tasks() -> str:
    """Two tasks of 40 questions: on one the second system loses, on the other it is alike."""
    systems = {
        "start": _documents("sums", range(30)) + _documents("names", range(20)),
        "trained": _documents("sums", range(12)) + _documents("names", range(1, 20)),
    }
    return file_url(write_tasks_page(Path("tasks.html"), TaskComparison(systems)))


def _documents(task: str, right: range) -> list[Document]:
    return [
        Document(
            task, "none", i, f"{task} {i}", f"Question {i} of {task}?", f"answer {i}",
            f"answer {i if i in right else i + 1}", {"acc": float(i in right)}, [], [],
        )
        for i in range(40)
    ]  # fmt: skip


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
"""Kinds that the documentation shows; the arena, which needs a server, comes on top."""
OTHERS: dict[str, Callable[[], str]] = {"study-of-arms": study_of_arms, "graded": graded, "tasks": tasks}
"""Kinds without a picture in the documentation."""


@contextmanager
def arena(votes: int = 0) -> Iterator[str]:
    """The address of a running arena of the two runs, or of its result after so many votes."""
    folder = Path("runs/arena")
    shutil.rmtree(folder, ignore_errors=True)
    duels = read_duels(*(trained(name) for name in RATES))
    kept = Votes(folder, duels)
    for number, duel in enumerate(duels.duels[:votes]):
        kept.add(duel, ("left", "right", "tie")[number % 3])
    with Arena(duels, kept, goal=votes or None) as server:
        server.revealed = votes > 0
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()
    kept.close()


def site() -> list[str]:
    """Pages of the documentation as `make docs` builds it."""
    pages = sorted(SITE.rglob("*.html"))
    if not pages:
        sys.exit(f"{SITE.relative_to(ROOT)}: there is no page; run `make docs` first.")
    return [
        file_url(page) for page in pages if page.name != "404.html" and SITE / "study" not in page.parents
    ]


def chromium() -> str:
    """The executable of a browser."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        sys.exit("there is no chromium on the path; set CHROMIUM to its executable.")
    return found
