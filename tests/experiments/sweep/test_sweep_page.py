"""The page of a sweep from written outcomes; nothing is trained."""

import json
import re
from dataclasses import asdict

import pytest

from boresight.core.files import write_state
from boresight.experiments.sweep.confirm import confirm_trials, confirmed, sweep_headline, sweep_verdict
from boresight.experiments.sweep.page import write_sweep_report
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.experiments.sweep.results import setting_results
from boresight.experiments.sweep.storage import TrialOutcome, open_sweep


def finish(sweep, trial, value, state="finished"):
    """Write what a trial leaves behind: four rows around `value`, and one evaluation on the way."""
    run = sweep.run_folder(trial)
    run.mkdir(parents=True)
    rows = {f"row{i}": value + 0.1 * (-1) ** i for i in range(4)}
    write_state(run / "end.json", {"numbers": {sweep.recipe.metric: rows}})
    line = {"split": "eval", "step": 2, sweep.recipe.metric: value}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    found = TrialOutcome(state, value if state == "finished" else None, 3.0, "" if value else "it broke")
    write_state(run.parent / "outcome.json", asdict(found))


@pytest.fixture
def sweep(raw, tmp_path):
    """Four rates, of which the second failed."""
    raw |= {"space": {"optim.lr": [1e-5, 3e-5, 3e-4, 1e-3]}, "metric": "nll_per_token", "confirm": {"top": 0}}
    sweep = open_sweep(tmp_path / "s", SweepRecipe.parse(raw))
    for trial, value in zip(sweep.search_trials(), (3.0, 0.0, 1.0, 2.0), strict=True):
        finish(sweep, trial, value, "finished" if value else "failed")
    return sweep


def test_a_confirmation_of_which_one_seed_finished_is_none(raw, tmp_path):
    """All values are 1.0 apart on every row, so p is tiny; rows, since the runs do not store prompts."""
    settings = {"space": {"optim.lr": [3e-5]}, "metric": "nll_per_token", "confirm": {"top": 1, "seeds": 2}}
    sweep = open_sweep(tmp_path / "s", SweepRecipe.parse(raw | settings))
    finish(sweep, sweep.search_trials()[0], 1.0)
    for trial in confirm_trials(sweep)[:2]:
        finish(sweep, trial, 2.0 if trial.setting is None else 1.0)
    (said,) = sweep_verdict(sweep, confirmed(sweep))
    assert "over 1 fresh seed and 4 unseen rows" in said and "beyond seed noise" not in said
    assert said.endswith("so nothing is confirmed; finish the other seeds.")
    assert sweep_headline(sweep, confirmed(sweep)) == "No setting is significantly better than the default"


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
