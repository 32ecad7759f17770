"""The page of a sweep from written outcomes; nothing is trained."""

import json
import re
from dataclasses import asdict

import pytest

from boresight.core.files import write_state
from boresight.experiments.sweep.confirm import confirm_trials, confirmed, sweep_headline
from boresight.experiments.sweep.page import write_sweep_report
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.experiments.sweep.results import setting_results
from boresight.experiments.sweep.storage import TrialOutcome, open_sweep


def finish(sweep, trial, value, state="finished", why="it broke"):
    """Write what a trial leaves behind: four rows around `value`, and one evaluation on the way. `why` is
    the reason of another state."""
    run = sweep.run_folder(trial)
    run.mkdir(parents=True)
    rows = {f"row{i}": value + 0.1 * (-1) ** i for i in range(4)}
    write_state(run / "end.json", {"numbers": {sweep.recipe.metric: rows}})
    line = {"split": "eval", "step": 2, sweep.recipe.metric: value}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    finished = state == "finished"
    found = TrialOutcome(state, value if finished else None, 3.0, "" if finished else why)
    write_state(run.parent / "outcome.json", asdict(found))


@pytest.fixture
def sweep(raw, tmp_path):
    """Four rates, of which the second failed."""
    raw |= {"space": {"optim.lr": [1e-5, 3e-5, 3e-4, 1e-3]}, "metric": "nll_per_token", "confirm": {"top": 0}}
    sweep = open_sweep(tmp_path / "s", SweepRecipe.parse(raw))
    for trial, value in zip(sweep.search_trials(), (3.0, 0.0, 1.0, 2.0), strict=True):
        finish(sweep, trial, value, "finished" if value else "failed")
    return sweep


STOPPED = "stopped by the guard at step 2: KL. The run ends with the start model."


@pytest.fixture
def confirming(raw, tmp_path):
    """Write a search that settings 0 and 1 win, in this order, and a confirmation with three seeds in which
    the default measures 3.0 and they 1.0 and 2.0. `ended` has other states and reasons by name of the trial;
    trials in `without` have not ended."""

    def write(ended=None, without=()):
        space, confirm = {"optim.lr": [3e-5, 1e-4]}, {"top": 2, "seeds": 3}
        changes = {"space": space, "metric": "nll_per_token", "confirm": confirm}
        sweep = open_sweep(tmp_path / "s", SweepRecipe.parse(raw | changes))
        for trial, value in zip(sweep.search_trials(), (1.0, 2.0), strict=True):
            finish(sweep, trial, value)
        for trial in confirm_trials(sweep):
            value = {None: 3.0, 0: 1.0, 1: 2.0}[trial.setting] + 0.01 * (trial.seed - 1001)
            state, why = (ended or {}).get(trial.name, ("finished", ""))
            if trial.name not in without:
                finish(sweep, trial, value, state, why)
        return sweep

    return write


def sentences(sweep):
    return write_sweep_report(sweep)[1]


def test_a_finalist_that_fails_hides_no_other(confirming):
    """Every run of setting 1 fails; setting 0 is compared over all three seeds."""
    failed = {f"confirm-01-seed{seed}": ("failed", "CUDA out of memory.") for seed in (1000, 1001, 1002)}
    sweep = confirming(failed)
    assert [(c.setting, c.mean.seeds) for c in confirmed(sweep)] == [(None, 3), (0, 3)]
    assert confirmed(sweep)[1].gain.mean.value == pytest.approx(-2.0)
    beats, failure = sentences(sweep)
    assert beats.startswith("lr 3e-05 beats the default by 2.0 nats") and "over 3 fresh seeds" in beats
    assert failure == (
        "In the confirmation, lr 0.0001 with seeds 1000, 1001, 1002 failed: CUDA out of memory."
    )


def test_every_finalist_is_compared_on_the_seeds_it_shares_with_the_default(confirming):
    """Seed 1001 of setting 1 and seed 1000 of setting 0 failed for two reasons."""
    sweep = confirming(
        {"confirm-00-seed1000": ("failed", "disk full"), "confirm-01-seed1001": ("failed", "out of memory")}
    )
    default, first, second = confirmed(sweep)
    assert (default.mean.seeds, first.gain.seeds, second.gain.seeds) == (3, 2, 2)
    assert [first.gain.mean.value, second.gain.mean.value] == pytest.approx([-2.0, -1.0])
    assert first.mean.mean.value == pytest.approx(1.005)  # seeds 1001 and 1002
    assert sentences(sweep)[2:] == [
        "In the confirmation, lr 3e-05 with seed 1000 failed: disk full.",
        "In the confirmation, lr 0.0001 with seed 1001 failed: out of memory.",
    ]


@pytest.mark.parametrize("seeds", [(1000,), (1000, 1001), (1000, 1001, 1002)])
def test_nothing_is_compared_with_a_default_that_the_guard_stopped(confirming, seeds):
    """On the seeds that it survived it would seem better than it is, as a finalist would."""
    sweep = confirming({f"confirm-default-seed{seed}": ("stopped", STOPPED) for seed in seeds})
    assert confirmed(sweep) == []
    assert sentences(sweep) == [
        "lr 3e-05 was best, unconfirmed (the guard stopped the default, so there is nothing to compare it "
        "with): the best of several is partly luck.",
        f"In the confirmation, the default with seed 1000 was {STOPPED}",
    ]
    assert sweep_headline(sweep, []) == "lr 3e-05 is the best of 2, not confirmed"


def ended_as(state, names, seeds=(1000, 1001, 1002)):
    return {f"confirm-{name}-seed{seed}": (state, "it broke") for name in names for seed in seeds}


@pytest.mark.parametrize(
    ("ended", "without", "why"),
    [
        (ended_as("stopped", ["00", "01"], (1001,)), (), "the guard stopped every finalist"),
        (ended_as("failed", ["default"]), (), "no fresh seed finished for the default and a finalist"),
        ({}, ended_as("", ["default"]), "no fresh seed has finished for the default and a finalist yet"),
    ],
)
def test_why_nothing_is_confirmed(confirming, ended, without, why):
    sweep = confirming(ended, without)
    said = f"lr 3e-05 was best, unconfirmed ({why}): the best of several is partly luck."
    assert sentences(sweep)[0] == said


def test_a_default_that_wins_is_not_confirmed_by_failures(raw, tmp_path):
    settings = {"space": {"optim.lr": [1e-5, 3e-5]}, "metric": "nll_per_token", "confirm": {"seeds": 2}}
    sweep = open_sweep(tmp_path / "s", SweepRecipe.parse(raw | settings))
    for trial, value in zip(sweep.search_trials(), (1.0, 2.0), strict=True):
        finish(sweep, trial, value)
    for trial in confirm_trials(sweep):
        finish(sweep, trial, 0.0, "failed")
    assert "(no fresh seed finished for the default and a finalist)" in sentences(sweep)[1]


@pytest.mark.parametrize(
    ("ended", "without", "rest"),
    [
        (ended_as("failed", ["00"], (1000, 1001)), (), "the other seeds failed"),
        ({}, ended_as("", ["00"], (1000, 1001)), "finish the other seeds"),
    ],
)
def test_a_confirmation_of_which_one_seed_finished_is_none(confirming, ended, without, rest):
    """All values are 2.0 apart on every row, so p is tiny; rows, since the runs do not store prompts."""
    sweep = confirming(ended | ended_as("stopped", ["01"]), without)
    said = sentences(sweep)[0]
    assert "over 1 fresh seed and 4 unseen rows" in said and "beyond seed noise" not in said
    assert said.endswith(f"so nothing is confirmed; {rest}.")
    assert sweep_headline(sweep, confirmed(sweep)) == "lr 3e-05 is the best of 2, not confirmed"


def test_rows_of_one_prompt_are_one_value(raw, tmp_path):
    """Rows 0 and 1 share a prompt: 3.1 and 2.9 are one value of 3.0."""
    settings = {"space": {"optim.lr": [1e-5]}, "metric": "nll_per_token", "confirm": {"top": 0}}
    sweep = open_sweep(tmp_path / "s", SweepRecipe.parse(raw | settings))
    (trial,) = sweep.search_trials()
    finish(sweep, trial, 3.0)
    assert len(sweep.by_prompt(trial)) == 4 and sweep.units_of(trial) == "rows"
    same = {"rows": {"row1": "row0", "row3": "row2"}, "answers": {}}
    write_state(sweep.run_folder(trial) / "evaluation.json", {"metrics": [], "same_prompts": same})
    assert sweep.by_prompt(trial) == pytest.approx({"row0": 3.0, "row2": 3.0})
    assert sweep.units_of(trial) == "prompts"


def test_settings_without_a_rank_come_last(sweep):
    """Lower is better, so 1.0, 2.0, 3.0; the failed setting 1 stands after them, not after the best."""
    assert [(r.number, r.rank) for r in setting_results(sweep)] == [(2, 1), (3, 2), (0, 3), (1, None)]


def test_the_page_names_the_metric_in_words(sweep):
    """The key of the recipe is given once, in the heading of the table of settings."""
    page, _ = write_sweep_report(sweep)
    body = re.sub(r"<script.*", "", page.read_text().split("</style>")[1], flags=re.S)
    body = re.sub(r'<section id="recipe">.*', "", body, flags=re.S)
    assert body.count("nll_per_token") == 1
    assert "<h2>Negative log-likelihood per token by setting</h2>" in body
    assert "by negative log-likelihood per token (nll_per_token), lower is better; 1 seed each" in body
    assert body.count("negative log-likelihood per token, nats") >= 3, "the axes have the unit"
