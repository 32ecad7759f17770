"""Two workers, one of them killed in the middle of a trial: the table is that of an undisturbed sweep."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from boresight.experiments.engine import processes
from boresight.experiments.sweep.command import run_sweep_recipe
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.experiments.sweep.storage import Trial, join

VICTIM = Path(__file__).with_name("worker_to_be_killed.py")


def trials(folder):
    """trials.csv without what depends on the clock and on who was killed.

    Whoever comes first fills the reference cache, in batches of its own cut: margins agree to rounding.
    """
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    plain = [{k: v for k, v in row.items() if k not in ("seconds", "attempts", "margin")} for row in rows]
    return plain, [float(row["margin"]) for row in rows]


def test_six_trials_two_workers_one_killed(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe = SweepRecipe.parse(raw)
    assert recipe.count == 6
    started = []

    def start(module, folder, index, workers, quiet):
        program = ["-m", module] if started else [str(VICTIM)]
        worker = subprocess.Popen([sys.executable, *program, str(folder)], start_new_session=True)
        started.append(worker)
        while worker is started[0] and not list(folder.glob("trials/*/claim-1")) and worker.poll() is None:
            os.sched_yield()  # the other one begins when the victim has a trial
        return worker

    monkeypatch.setattr(processes, "start", start)
    said = io.StringIO()
    run_sweep_recipe(recipe, tmp_path / "killed", workers=2, console=Console(file=said, width=200))
    assert "worker 0 was killed (signal 9); another one takes its place" in said.getvalue()
    assert [worker.returncode for worker in started] == [-9, 0, 0]  # the victim, the other, the replacement

    run_sweep_recipe(recipe, tmp_path / "whole", workers=1, console=Console(quiet=True))
    rows, margins = trials(tmp_path / "killed")
    undisturbed, expected = trials(tmp_path / "whole")
    assert rows == undisturbed
    assert margins == pytest.approx(expected, rel=1e-4)
    assert [row["state"] for row in rows] == ["finished"] * (6 + 2 * 2)

    sweep = join(tmp_path / "killed")
    attempts = [sweep.outcome(trial).attempts for trial in sweep.search_trials()]
    assert sorted(attempts) == [1, 1, 1, 1, 1, 2]
    table = (tmp_path / "killed" / "table.md").read_text()
    assert table.splitlines()[0].startswith("- lr 0.001, ") and " beats the default by " in table
    assert (tmp_path / "killed" / "trials" / Trial(0, 0).name / "run" / "report.html").is_file()
