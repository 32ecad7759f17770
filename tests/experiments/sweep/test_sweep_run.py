"""Sweeps in one process: failures that are explained, pruning, resuming, joining, Optuna, and the page."""

import importlib.util
import io
import json
import os
import re
import signal
from dataclasses import asdict

import pytest
from rich.console import Console

from boresight.core.errors import UserError
from boresight.core.files import write_state
from boresight.core.interrupt import Interrupted
from boresight.experiments.engine import claim
from boresight.experiments.sweep import storage
from boresight.experiments.sweep.command import run_sweep_recipe
from boresight.experiments.sweep.confirm import confirm_trials, confirmed, finalists, ranking
from boresight.experiments.sweep.page import write_sweep_report
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.experiments.sweep.storage import Trial, TrialOutcome, join
from boresight.experiments.sweep.trials import SweepTrials
from boresight.training import loop

TWO = {"space": {"optim.lr": [1e-5, 1e-3]}, "confirm": {"top": 0}}


def swept(raw, folder, **changes):
    """Run a sweep; returns it and what it printed."""
    said = io.StringIO()
    run_sweep_recipe(SweepRecipe.parse(raw | changes), folder, console=Console(file=said, width=300))
    return join(folder), said.getvalue()


def outcomes(sweep):
    return [sweep.outcome(trial) for trial in sweep.search_trials()]


def test_a_trial_that_fails_is_explained_and_the_rest_goes_on(raw, tmp_path):
    sweep, said = swept(raw, tmp_path / "s", **TWO | {"space": {"data.max_length": [2, 512]}})
    failed, finished = outcomes(sweep)
    assert (failed.state, finished.state) == ("failed", "finished")
    assert "data.max_length" in failed.why and failed.value is None
    assert "Setting 0 failed: " in said
    assert "unconfirmed (confirm.top is 0)" in said
    assert "failed" in (tmp_path / "s/table.md").read_text()
    page = (tmp_path / "s/report.html").read_text()
    assert (
        re.search(r"<h1>max_length 512 is the best of \d, not confirmed</h1>", page) and ">Why</th>" in page
    )


def test_an_unexpected_error_is_one_line_and_a_file(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "take_step", lambda *_: 1 / 0)
    sweep, said = swept(raw, tmp_path / "s", **TWO)
    assert [o.why for o in outcomes(sweep)] == [
        "ZeroDivisionError: division by zero (error.txt has the rest)"
    ] * 2
    assert "Traceback" in (tmp_path / "s/trials/00-seed0/error.txt").read_text()
    assert "No setting finished with all its seeds" in said
    began, *_ = (line for line in said.splitlines() if line.startswith("00-seed0"))
    assert began.endswith(" …"), "a trial is named when it starts"


def test_a_trial_that_kills_its_workers_is_given_up(raw, tmp_path):
    """Two claims of processes that are gone are two attempts; the third look writes it off."""
    folder = tmp_path / "s"
    sweep = storage.open_sweep(folder, SweepRecipe.parse(raw | TWO))
    dead = json.dumps(claim._identity() | {"process": 2**22 + 1, "started": "1"})
    sweep.job_folder(Trial(0, 0)).mkdir(parents=True)
    for number in (1, 2):
        (sweep.job_folder(Trial(0, 0)) / f"claim-{number}").write_text(dead)
    sweep, _ = swept(raw, folder, **TWO)
    failed, finished = outcomes(sweep)
    assert failed.state == "failed" and "exited without an error 2 times" in failed.why
    assert finished.state == "finished"


def test_the_same_seeds_and_rows_for_all_and_unseen_prompts_for_the_finalists(raw, tmp_path):
    sweep, _ = swept(raw, tmp_path / "s", seeds=[0, 1], space={"optim.lr": [1e-5, 1e-3]})
    assert finalists(sweep) == [1]  # setting 0 is the default itself
    assert [t.name for t in confirm_trials(sweep)] == [
        "confirm-default-seed1000", "confirm-01-seed1000", "confirm-default-seed1001", "confirm-01-seed1001",
    ]  # fmt: skip
    seen = {frozenset(sweep.by_prompt(trial)) for trial in sweep.search_trials()}
    unseen = {frozenset(sweep.by_prompt(trial)) for trial in confirm_trials(sweep)}
    assert len(seen) == len(unseen) == 1 and not next(iter(seen)) & next(iter(unseen))
    assert {sweep.recipe_of(t).train.seed for t in confirm_trials(sweep)} == {1000, 1001}
    assert "<h1>lr 0.001 beats the default by " in (sweep.folder / "report.html").read_text()


def test_a_default_that_wins_is_said_to(raw, tmp_path):
    base = json.loads(json.dumps(raw["recipe"])) | {"optim": {"lr": 1e-3}}
    _, said = swept(raw, tmp_path / "s", recipe=base, space={"optim.lr": [1e-3, 1e-5]})
    assert "In the search, nothing was better than the default itself (lr 0.001)." in said
    assert "lr 1e-05 is worse than the default by " in said
    page = (tmp_path / "s/report.html").read_text()
    assert "<h1>No setting is significantly better than the default</h1>" in page and ">Why</th>" not in page


def test_a_trial_that_falls_behind_is_pruned(raw, tmp_path):
    """The good rates come first, so the bad one is judged by them."""
    sweep, _ = swept(
        raw,
        tmp_path / "s",
        **TWO | {"space": {"optim.lr": [1e-3, 5e-4, 1e-5]}, "prune": {"after": 2, "trials": 2}},
    )
    assert [o.state for o in outcomes(sweep)] == ["finished", "finished", "pruned"]
    assert "worse than the median" in outcomes(sweep)[2].why
    lines = (sweep.run_folder(Trial(2, 0)) / "metrics.jsonl").read_text().splitlines()
    assert max(json.loads(line)["step"] for line in lines) == 2  # of four


GUARDED = {"train.guard": {"kl": 0.001}, "evaluate.kl_rows": 4, "optim.warmup": 0.0}


def test_a_trial_that_the_guard_stops_has_no_value_and_cannot_win(raw, tmp_path):
    """A high rate moves far in a step, so that the run ends with the start model: its margin is 0."""
    sweep, said = swept(raw, tmp_path / "s", **TWO | {"set": GUARDED, "space": {"optim.lr": [1e-6, 3e-2]}})
    finished, stopped = outcomes(sweep)
    assert (finished.state, stopped.state) == ("finished", "stopped") and stopped.value is None
    assert stopped.why.startswith("stopped by the guard at step ") and "train.guard.kl" in stopped.why
    assert [number for number, _ in ranking(sweep)] == [0]
    assert "01-seed0 (lr 0.03) stopped in " in said
    assert "lr 0.03 with seed 0 was stopped by the guard at" in said
    page = (tmp_path / "s/report.html").read_text()
    assert "<h1>lr 1e-06 is the best of 1, not confirmed</h1>" in page and "The run ends with" in page
    assert ",stopped,," in (tmp_path / "s/trials.csv").read_text(), "no value"


def test_a_finalist_that_the_guard_stops_in_the_confirmation_is_not_compared(raw, tmp_path):
    """On the seeds that it survived it would seem better than it is."""
    sweep, _ = swept(raw, tmp_path / "s", space={"optim.lr": [1e-5, 1e-3]})
    assert [c.setting for c in confirmed(sweep)] == [None, 1]
    trial = next(trial for trial in confirm_trials(sweep) if trial.setting == 1)
    file = sweep.job_folder(trial) / "outcome.json"
    why = "stopped by the guard at step 2: KL. The run ends with the start model."
    file.unlink()
    write_state(file, asdict(TrialOutcome("stopped", None, 1.0, why)))
    assert confirmed(sweep) == []
    _, sentences = write_sweep_report(sweep)
    assert f"In the confirmation, lr 0.001 with seed {trial.seed} was {why}" in sentences


def test_an_interrupted_sweep_goes_on_inside_the_trial(raw, tmp_path, monkeypatch):
    step = loop.take_step

    def interrupted(task, optimizer, number, rate):
        if number == 1 and rate > 1e-4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(task, optimizer, number, rate)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", interrupted)
        with pytest.raises(Interrupted, match="run the same command to resume"):
            swept(raw, tmp_path / "s", **TWO)
    sweep = join(tmp_path / "s")
    assert [bool(o) for o in outcomes(sweep)] == [True, False]
    assert (sweep.run_folder(Trial(1, 0)) / "checkpoints/step-2").is_dir()
    sweep, _ = swept(raw, tmp_path / "s", **TWO)
    whole, _ = swept(raw, tmp_path / "whole", **TWO)
    assert [o.value for o in outcomes(sweep)] == [o.value for o in outcomes(whole)]
    assert outcomes(sweep)[1].attempts == 1


def test_a_folder_takes_one_sweep(raw, tmp_path):
    swept(raw, tmp_path / "s", **TWO)
    with pytest.raises(UserError, match="a sweep whose metric differs"):
        swept(raw, tmp_path / "s", **TWO | {"metric": "accuracy"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    with pytest.raises(UserError, match="exists but holds no sweep"):
        swept(raw, tmp_path / "other", **TWO)


def test_a_finished_sweep_runs_nothing_again(raw, tmp_path, monkeypatch):
    swept(raw, tmp_path / "s", **TWO)
    monkeypatch.setattr(SweepTrials, "run", lambda *_: pytest.fail("a trial was run again"))
    _, said = swept(raw, tmp_path / "s", **TWO)
    assert "2 of 2 trials done" in said


def test_a_metric_that_the_run_does_not_measure_is_named(raw, tmp_path):
    sweep, _ = swept(raw, tmp_path / "s", **TWO | {"metric": "reward"})
    assert "dpo measures no reward on this held-out data" in outcomes(sweep)[0].why


def test_names_in_the_page_are_text(raw, tmp_path):
    path = "<script>alert(1)</script>.jsonl"
    swept(raw, tmp_path / "s", **TWO | {"space": {"data.train": [path, raw["recipe"]["data"]["train"]]}})
    page = (tmp_path / "s/report.html").read_text()
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page


needs_optuna = pytest.mark.skipif(
    importlib.util.find_spec("optuna") is None,
    reason="optuna is not installed; pip install 'boresight[sweep]'",
)
SEARCH = {
    "search": "optuna",
    "trials": 5,
    "space": {"optim.lr": {"low": 1e-6, "high": 1e-3, "log": True}, "train.batch": [4, 8]},
    "confirm": {"top": 0},
}


@needs_optuna
def test_optuna_hears_every_result_and_two_sweeps_agree(raw, tmp_path):
    from boresight.experiments.sweep.search import _add_results, _study

    sweep, _ = swept(raw, tmp_path / "a", **SEARCH)
    again, _ = swept(raw, tmp_path / "b", **SEARCH)
    settings = [sweep.setting(number) for number in range(5)]
    assert settings == [again.setting(number) for number in range(5)]
    assert all(1e-6 <= s["optim.lr"] <= 1e-3 and s["train.batch"] in (4, 8) for s in settings)
    study = _study(sweep, 5)
    _add_results(study, sweep)
    assert sorted(trial.value for trial in study.trials) == sorted(o.value for o in outcomes(sweep))


@needs_optuna
@pytest.mark.slow
def test_two_workers_search_together_in_one_journal(raw, tmp_path, monkeypatch):
    """Two processes ask and tell one study; every setting is drawn once and every result is heard."""
    from boresight.experiments.sweep.search import _add_results, _study

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    space = {"optim.lr": {"low": 1e-6, "high": 1e-3, "log": True}}
    recipe = SweepRecipe.parse(raw | SEARCH | {"trials": 4, "space": space})
    run_sweep_recipe(recipe, tmp_path / "s", workers=2, console=Console(quiet=True))
    sweep = join(tmp_path / "s")
    assert {o.state for o in outcomes(sweep)} == {"finished"}
    assert len({sweep.setting(number)["optim.lr"] for number in range(4)}) == 4
    study = _study(sweep, 4)
    _add_results(study, sweep)
    heard = sorted(trial.value for trial in study.trials if trial.value is not None)
    assert heard == sorted(o.value for o in outcomes(sweep))


@needs_optuna
def test_a_setting_outlives_the_worker_that_drew_it(raw, tmp_path):
    """The setting is kept before the trial begins, so whoever takes over runs the same one."""
    from boresight.experiments.sweep.search import draw_setting

    sweep = storage.open_sweep(tmp_path / "s", SweepRecipe.parse(raw | SEARCH))
    drawn = draw_setting(sweep, 0)
    assert draw_setting(join(tmp_path / "s"), 0) == drawn
    assert sweep.keep_setting(0, {"optim.lr": 1.0}) == drawn


def test_without_optuna_a_search_is_refused_in_one_sentence(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"optuna is not installed; pip install 'boresight\[sweep\]'"):
        run_sweep_recipe(SweepRecipe.parse(raw | SEARCH), tmp_path / "s", console=Console(quiet=True))
    assert not (tmp_path / "s").exists()
