"""Kills real runs at random instants and goes on with them: kill_runs.py JOBS.json

A job is {"recipe", "home", "kills", "seed"}. Its uninterrupted run ends up in `home/whole`; in `home/cut-N`
are runs that were killed, together `kills` times, and went on to their end. A run's process is forked from
this one, which has imported everything, so that a kill costs a second and not five. Prints, for every job
and kill, the run and how many steps it had logged.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.runs.train import run_training


def attempt(recipe: dict, folder: Path, kill_after: float | None) -> bool:
    """Run in a process of its own, perhaps killed after so many seconds; True when it was."""
    child = os.fork()
    if child == 0:
        try:
            run_training(Recipe.parse(recipe), folder, Console(quiet=True))
        except BaseException as error:
            print(f"{folder}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)  # the instant is what is random here; nothing depends on it
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(1)
    return False


def job(recipe: dict, home: Path, kills: int, seed: int) -> list[tuple[str, int]]:
    """The whole run, then killed ones until `kills` kills have met one."""
    draw, met, cut = random.Random(seed), [], 0
    started = time.monotonic()
    attempt(recipe, home / "whole", None)
    lasted = time.monotonic() - started
    while len(met) < kills:
        folder = home / f"cut-{cut}"
        if attempt(recipe, folder, draw.uniform(0, lasted)):
            met.append((folder.name, logged(folder)))
        if (folder / "evaluation.json").is_file():
            cut += 1
    if not (home / f"cut-{cut}/evaluation.json").is_file():
        attempt(recipe, home / f"cut-{cut}", None)
    return met


def logged(folder: Path) -> int:
    """Lines of training in a run's log."""
    path = folder / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count('"split": "train"') if path.is_file() else 0


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps([job(j["recipe"], Path(j["home"]), j["kills"], j["seed"]) for j in jobs]))
