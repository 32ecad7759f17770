"""A whole tiny study: to its end, killed and gone on with, with other settings, with a failing arm."""

import csv
import io
import re
from dataclasses import asdict

import pytest
import yaml
from rich.console import Console

from boresight.core.errors import UserError
from boresight.core.files import read_state, write_state
from boresight.core.interrupt import Interrupted
from boresight.experiments.study import arms, storage
from boresight.experiments.study.command import run_study
from boresight.experiments.study.plan import ArmRun, StudyPlan
from boresight.experiments.study.read import read_study


def carry(path, folder, only=()):
    console = Console(file=io.StringIO(), width=200, soft_wrap=True)
    failed = run_study(None, path, folder, only, False, console).failed
    return failed, console.file.getvalue()


def test_a_study_to_its_end(written, tmp_path):
    path, folder = written(), tmp_path / "study"
    failed, said = carry(path, folder)
    assert failed == 0 and "[5/5]" in said and "left" in said
    report = folder / "report"
    page = (report / "index.html").read_text()
    # Model text, prompts and titles stay text.
    assert "<img src=x" not in page and "<b>arm</b>" not in page
    assert "slow &lt;b&gt;arm&lt;/b&gt;" in page
    assert re.search(r"\\u003cimg src=x", page)
    assert "cdn" not in page and 'http-equiv="Content-Security-Policy"' in page
    figures = sorted(p.name for p in (report / "figures").iterdir())
    assert figures == ["held-out.svg", "loss.svg"]
    assert "<b>" not in (report / "figures" / "loss.svg").read_text()
    text = (report / "results.md").read_text()
    assert "| DPO | held-out pairs ranked right |" in text and "2 seeds" in text
    rows = list(csv.DictReader((report / "results.csv").open()))
    line = next(r for r in rows if r["kind"] == "comparison" and r["metric"] == "accuracy")
    means = {r["name"]: float(r["value"]) for r in rows if r["kind"] == "arm" and r["metric"] == "accuracy"}
    assert float(line["value"]) == pytest.approx(means["fast"] - means["slow"])
    # Nine held-out pairs of two a prompt are fewer prompts than pairs.
    assert int(line["prompts"]) < 9
    onward = yaml.safe_load((folder / "onward-seed0" / "run" / "config.yaml").read_text())
    assert onward["model"]["name"] == str(folder / "fast-seed0" / "run")
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*/outcome.json")}
    again, said = carry(path, folder)
    assert again == 0 and "[1/5]" not in said
    assert before == {p: p.stat().st_mtime_ns for p in folder.glob("*/outcome.json")}

    changed = written(arms=StudyPlan.load(path).model_dump()["arms"] | {"slow": _slower(path)})
    with pytest.raises(UserError, match=r"slow-seed0.optim.lr was 1e-06 and is 5e-07"):
        carry(changed, folder)


def _slower(path):
    arm = StudyPlan.load(path).model_dump()["arms"]["slow"]
    return arm | {"set": {"optim.lr": 5e-7}}


def test_a_killed_study_goes_on(written, tmp_path, monkeypatch):
    path, folder = written(), tmp_path / "study"
    real = arms.answer_prompts

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(arms, "answer_with_start_model", lambda *_: None)
    monkeypatch.setattr(arms, "answer_prompts", killed)
    with pytest.raises(Interrupted, match="run the same command to resume"):
        carry(path, folder, ["slow"])
    # The run is there, its answers are not: it was killed between the two.
    weights = folder / "slow-seed0" / "run" / "metrics.jsonl"
    trained = weights.stat().st_mtime_ns
    assert not (folder / "slow-seed0" / "outcome.json").exists()
    assert "have not ended yet" in (folder / "report" / "results.md").read_text()
    monkeypatch.setattr(arms, "answer_prompts", real)
    failed, _ = carry(path, folder, ["slow"])
    assert failed == 0 and (folder / "slow-seed0" / "answers.jsonl").exists()
    assert weights.stat().st_mtime_ns == trained


def test_a_failing_arm_stops_only_those_that_start_from_it(written, raw, tmp_path):
    raw["arms"]["fast"]["set"] = {"data.limit": 1, "data.train": "nowhere.jsonl"}
    failed, said = carry(written(), tmp_path / "study", ["fast", "onward"])
    assert failed == 3
    assert "nowhere.jsonl" in said and "fast with seed 0, whose model it needs, is not finished" in said
    text = (tmp_path / "study" / "report" / "results.md").read_text()
    assert "fast arm, seed 0, failed: " in text


GUARDED = {"train.guard": {"kl": 0.001}, "evaluate.kl_rows": 4, "optim.warmup": 0.0}


def test_an_arm_that_the_guard_stops_has_no_value(written, raw, tmp_path):
    """At a high rate one step exceeds the bound, and the run ends with the start model, whose margin is 0."""
    raw["arms"]["fast"]["set"] |= GUARDED | {"train.eval_every": 1, "optim.lr": 0.03}
    folder = tmp_path / "study"
    failed, said = carry(written(), folder)
    assert failed == 1, "onward starts from fast; the stopped runs have not failed"
    assert "    stopped by the guard at step 1: " in said
    assert "onward with seed" not in said and "fast with seed 0, whose model it needs, was stopped by" in said
    outcome = read_state(folder / "fast-seed0" / "outcome.json")
    assert outcome["stopped"] and outcome["why"].startswith("stopped by the guard at step 1: ")
    rows = list(csv.DictReader((folder / "report" / "results.csv").open()))
    assert {r["name"] for r in rows if r["kind"] == "arm"} == {"start", "slow"}
    assert [r["name"] for r in rows if r["kind"] == "stopped"] == ["fast-seed0", "fast-seed1"]
    assert not any(r["kind"] == "comparison" for r in rows)
    text = (folder / "report" / "results.md").read_text()
    assert "- fast arm, seed 1, stopped by the guard at step 1: " in text and "The run ends with" in text
    assert "| fast arm | – | – | – | 0 of 2, 2 stopped |" in text
    assert re.search(r"^\| DPO \| held-out pairs ranked right \|.*\| not measured \|$", text, re.M)
    before = (folder / "fast-seed0" / "outcome.json").stat().st_mtime_ns
    _, said = carry(written(), folder)
    assert "fast arm" not in said and before == (folder / "fast-seed0" / "outcome.json").stat().st_mtime_ns


def test_the_seeds_that_the_guard_left_are_not_shown_as_the_arm(written, tmp_path):
    folder = tmp_path / "study"
    carry(written(), folder, ["slow", "fast"])
    study = storage.open_study(StudyPlan.load(written()), tmp_path, folder)
    assert set(read_study(study).measured["fast"]["margin"]) == {0, 1}
    outcome = folder / "fast-seed1" / "outcome.json"
    outcome.unlink()
    write_state(outcome, asdict(storage.ArmOutcome(1.0, "stopped by the guard at step 2: KL.", stopped=True)))
    assert "fast" not in read_study(study).measured


def test_a_folder_of_something_else_is_left_alone(written, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="no study"):
        carry(written(), tmp_path / "mine")


def test_weights_go_where_the_plan_says_so_and_nobody_starts_from_them(written, raw, tmp_path):
    for name in ("slow", "fast", "onward"):
        raw["arms"][name] |= {"keep_weights": False, "seeds": [0]}
    carry(written(), tmp_path / "study")
    plan = StudyPlan.load(written())
    opened = storage.open_study(plan, tmp_path, tmp_path / "study")
    kept = [name for name in plan.arms if (opened.run_folder(ArmRun(name, 0)) / "model").exists()]
    assert kept == ["fast"]
