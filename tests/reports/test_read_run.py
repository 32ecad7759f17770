"""Run folders that are whole, half-written or broken: read what is there, say what is not."""

import json
import math
import os
import re

import pytest

from boresight.core.errors import UserError
from boresight.findings.finding import warning
from boresight.findings.trl_log import trainer_state_in
from boresight.reports.figures import figures
from boresight.reports.read_run import read_run, without_refuted_forecast
from tests.reports.fake_run import write_fake_run


@pytest.fixture
def folder(tmp_path):
    return write_fake_run(tmp_path / "run", steps=40)


def test_a_whole_run_has_no_notes(folder):
    run = read_run(folder)
    assert run.notes == []
    assert (run.name, run.method, run.last_step, run.finished) == ("run", "dpo", 40, True)
    assert (len(run.train), len(run.eval), len(run.samples), len(run.metrics)) == (40, 9, 60, 5)


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "environment.json", "data.json", "metrics.jsonl", "evaluation.json", "samples.jsonl"],
)
def test_each_missing_file_is_said(folder, name):
    (folder / name).unlink()
    notes = read_run(folder).notes
    assert len(notes) == 1 and notes[0].startswith(f"{name} is missing: ")


def test_an_unfinished_run_says_so_and_its_torn_last_line_is_left_out(folder):
    (folder / "model").rmdir()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "split": "tr')
    run = read_run(folder)
    assert run.last_step == 40
    assert run.notes == [
        "The run has not finished: there is no model folder yet.",
        "metrics.jsonl: line 50 could not be read and is skipped.",
    ]


@pytest.mark.parametrize(
    ("held_out", "trained", "kept"),
    [([0.2, 0.9], [4.0], True), ([0.2, 1.0], [0.1], False), ([], [6.7], False), ([], [], True)],
)
def test_a_forecast_of_too_small_a_margin_is_dropped_where_the_margin_is_large(held_out, trained, kept):
    log = [{"split": "eval", "margin": margin} for margin in held_out]
    log += [{"split": "train", "margin": margin} for margin in trained] + [{"split": "train"}]
    forecast, other = warning("learning-rate-budget", "w", "f"), warning("few-steps", "w", "f")
    assert without_refuted_forecast([forecast, other], log) == ([forecast, other] if kept else [other])


def test_broken_json_and_yaml_are_notes_not_crashes(folder):
    (folder / "evaluation.json").write_text("{")
    (folder / "data.json").write_text("[1]")
    (folder / "config.yaml").write_text("a: [1")
    run = read_run(folder)
    assert run.metrics == [] and run.data == {} and run.config == {}
    assert run.config_text == "a: [1"
    assert [note.split()[0] for note in run.notes] == ["evaluation.json", "config.yaml", "data.json"]


def test_a_metric_without_a_number_is_left_out_and_counted(folder):
    after = {"value": 0.5, "low": None, "high": 0.7, "n": 9}
    entries = [{"label": "nameless"}, {"name": "ok", "before": None, "after": after, "difference": None}]
    (folder / "evaluation.json").write_text(json.dumps({"metrics": entries}))
    run = read_run(folder)
    assert [m.name for m in run.metrics] == ["ok"]
    assert run.metrics[0].after.low == -math.inf
    assert "one metric has no name or no numbers" in run.notes[0]


def test_a_failed_answer_is_missing_not_empty(folder):
    row = {
        "id": 7,
        "prompt": "plain text",
        "before": None,
        "after": "",
        "after_checks": {"ok": True, "bad": None},
    }
    (folder / "samples.jsonl").write_text(json.dumps(row))
    (sample,) = read_run(folder).samples
    assert sample.id == "7" and sample.prompt == [{"role": "user", "content": "plain text"}]
    assert sample.answers == [None, ""]
    assert sample.checks == [{}, {"ok": True}]


def _logged(folder, **numbers):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line | numbers) + "\n" for line in lines))


@pytest.mark.parametrize("value", [10**400, 1.7e308, math.inf, math.nan, None, "0.5", [1]])
@pytest.mark.parametrize("metric", ["margin", "accuracy", "reward_total"])
def test_numbers_that_cannot_be_drawn_are_left_out(folder, metric, value):
    before = {figure.title for figure in figures(read_run(folder))}
    _logged(folder, **{metric: value})
    run = read_run(folder)
    assert {figure.title for figure in figures(run)} <= before  # without this metric's own
    steps, values = run.series(metric)
    assert len(steps) == 40 and all(map(math.isnan, values))


def test_shares_that_are_none_are_drawn_without_intervals(folder):
    _logged(folder, accuracy=7.0)
    assert all(not line.low for figure in figures(read_run(folder)) for line in figure.plot.lines)


@pytest.mark.parametrize("step", [10**400, -1, True, 1.0])
def test_a_line_without_a_number_of_steps_is_left_out(folder, step):
    _logged(folder, step=step)
    assert read_run(folder).train == []


OTHER = {"value": 10**400}, {"value": 1, "n": math.inf}


@pytest.mark.parametrize(
    "metrics", [5, {"name": "x"}, "abc", [5], *([{"name": "x", "after": after}] for after in OTHER)]
)
def test_an_evaluation_of_another_form_is_a_note(folder, metrics):
    (folder / "evaluation.json").write_text(json.dumps({"metrics": metrics}))
    run = read_run(folder)
    assert run.metrics == [] and "no name or no numbers" in run.notes[0]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"not a run folder, it has no config\.yaml"):
        read_run(tmp_path)


def test_a_file_and_a_folder_of_checkpoints_are_named_as_what_they_are(tmp_path):
    (tmp_path / "log.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"log\.jsonl: is a file and no run folder"):
        read_run(tmp_path / "log.jsonl")
    for step, at in ((50, 1), (100, 2)):
        state = tmp_path / f"checkpoint-{step}" / "trainer_state.json"
        state.parent.mkdir()
        state.write_text("{}")
        os.utime(state, (at, at))
    said = rf"is a folder of transformers' Trainer .*`boresight explain {re.escape(str(tmp_path))}`"
    with pytest.raises(UserError, match=said):
        read_run(tmp_path)
    assert trainer_state_in(tmp_path) == tmp_path / "checkpoint-100/trainer_state.json"
