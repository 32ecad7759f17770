"""The page of a sweep from written outcomes; nothing is trained."""

import json
import re
from dataclasses import asdict

import pytest

from boresight.core.files import write_state
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
