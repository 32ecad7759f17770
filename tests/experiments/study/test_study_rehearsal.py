"""A rehearsal: every arm of a plan for two steps on stand-ins, without a network."""

import io
import os
import re
import tempfile
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from boresight.core.errors import UserError
from boresight.data.reading.load import read
from boresight.experiments.study.command import run_study
from boresight.experiments.study.overrides import load_plan
from boresight.experiments.study.plan import ArmRun, arm_recipe
from boresight.experiments.study.rehearsal import rehearse as rehearsal
from boresight.experiments.study.rehearsal.cost import ExpectedCost, expected_cost
from boresight.experiments.study.rehearsal.hub_rows import HUB_SHAPES
from boresight.experiments.study.rehearsal.model import byte_tokenizer
from boresight.experiments.study.rehearsal.shrink import shrunk
from boresight.experiments.study.rehearsal.stand_ins import StandIns
from tests.odd_text import TEXT

ROOT = Path(__file__).parents[3]
PLANS = sorted((ROOT / "recipes" / "study").glob("plan-*.yaml"))
ULTRAFEEDBACK = "HuggingFaceH4/ultrafeedback_binarized@train_prefs"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Folder in which rehearsals make theirs; nothing may be left there after one that passes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(ROOT)
    return folder


def rehearse(path, *overrides, only=()):
    console = Console(file=io.StringIO(), width=200, soft_wrap=True)
    before = dict(os.environ)
    failed = run_study(None, path, path.parent / "study", only, False, console, overrides, True).failed
    assert dict(os.environ) == before
    assert not (path.parent / "study").exists()
    return failed, console.file.getvalue()


def test_every_arm_of_a_plan_of_hub_data_passes(written, temporary):
    """One arm of each kind of hub data, one that starts from another, and one whose pairs are made later."""
    arm = {"group": "pairs", "recipe": "dpo.yaml"}
    hub = {"model.name": "Qwen/Qwen2.5-0.5B", "train.steps": None, "train.epochs": 3, "data.eval_rows": 200}
    sources = {"ultrafeedback": ULTRAFEEDBACK, "hh": "Anthropic/hh-rlhf", "made": "runs/made/pairs.jsonl"}
    sources["mixed"] = {ULTRAFEEDBACK: 0.5, "Anthropic/hh-rlhf": 0.5}
    arms = {
        name: {**arm, "title": name, "seeds": [4, 5], "set": {**hub, "data.train": source}}
        for name, source in sources.items()
    }
    arms["onward"] = {**arm, "title": "onward", "starts_from": "hh", "seeds": [4], "set": {"model.lora": {}}}
    arms["hh"]["set"]["optim.lr"] = "auto"
    figures = {"loss": {"title": "Loss", "metric": "loss", "arms": ["hh", "onward"]}}
    comparison = {"title": "t", "of": "hh", "to": "onward"}
    answers = yaml.safe_load(written().read_text())["answers"] | {"shown": ["hh"], "start": "starter"}
    path = written(arms=arms, figures=figures, comparisons=[comparison], answers=answers)
    failed, said = rehearse(path)
    assert failed == 0 and len(re.findall(r"\[\d/5\] [a-z]+: passed", said)) == 5
    assert "make runs/made/pairs.jsonl, which is not there yet" in said
    assert "expected time: unknown" in said and "expected cost: unknown" in said
    assert list(temporary.iterdir()) == []
    failed, said = rehearse(path, only=["onward"])
    assert failed == 0 and "2 arms" in said and "[2/2] onward: passed" in said


def test_each_failure_is_one_line_and_the_others_go_on(written, raw, temporary):
    raw["arms"]["slow"]["set"] = {"data.train": "nobody/knows-this"}
    raw["arms"]["fast"]["set"] = {"data.train": ULTRAFEEDBACK.replace("train_prefs", "train_pref")}
    raw["arms"]["right"] = {**raw["arms"]["slow"], "title": "r", "set": {}}
    failed, said = rehearse(written(), "arms.right.optim.lr=0.5")
    lines = [line for line in said.splitlines() if line.startswith("[")]
    assert failed == 3 and len(lines) == 4
    assert "slow: failed: nobody/knows-this: a rehearsal has no stand-in" in lines[0]
    assert "fast: failed: " in lines[1] and "did you mean 'train_prefs'" in lines[1]
    assert "onward: failed: fast with seed 0, whose model it needs" in lines[2]
    assert "right: passed" in lines[3]
    (kept,) = temporary.iterdir()
    assert f"3 failed; what they wrote is kept in {kept}" in said


def test_what_fails_beside_the_arms_is_a_line_too(written, raw, temporary, monkeypatch):
    raw["arms"] = {"slow": raw["arms"]["slow"]}
    changes = {"comparisons": [], "figures": {}}
    answers = {**raw["answers"], "shown": [], "prompts": "nowhere.jsonl"}
    failed, said = rehearse(written(**changes, answers=answers))
    assert failed == 1 and "answers of the start model: failed: nowhere.jsonl: no such file" in said

    def broken(_):
        raise KeyError("title")

    monkeypatch.setattr(rehearsal, "write_study_report", broken)
    failed, said = rehearse(written(**changes, answers={**answers, "prompts": raw["answers"]["prompts"]}))
    assert failed == 1 and "report: failed: KeyError" in said


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_arm_of_the_plans_that_ship_has_stand_ins(path, tmp_path, monkeypatch):
    """Their recipes shrink and their data are read; `boresight study --rehearse` runs them besides."""
    monkeypatch.chdir(ROOT)
    plan, stand_ins = load_plan(path), StandIns(tmp_path)
    for name, arm in plan.arms.items():
        recipe = arm_recipe(plan, path.parent, ArmRun(name, arm.seeds[0]))
        small = shrunk(recipe, stand_ins, recipe.model.name)
        assert (small.train.steps, small.train.epochs, small.method) == (2, None, recipe.method)
        assert small.model.name == "countdown-tiny" or Path(small.model.name).is_dir()


@pytest.mark.parametrize("name", HUB_SHAPES)
def test_stand_ins_of_hub_data_have_every_split_and_are_read(name, tmp_path):
    folder = StandIns(tmp_path).data(name)
    sizes = {split: len(read(f"{folder}@{split}").examples) for split in HUB_SHAPES[name].splits}
    assert set(sizes.values()) == {60}
    with pytest.raises(UserError, match="has no split 'nosuch'"):
        read(f"{folder}@nosuch")


def test_a_model_that_is_none_has_no_stand_in(tmp_path):
    with pytest.raises(UserError, match="no model 'startr'; did you mean 'starter'"):
        StandIns(tmp_path).model("startr")


def test_every_text_survives_the_stand_in_tokenizer():
    tokenizer = byte_tokenizer()
    assert tokenizer.decode(tokenizer(TEXT)["input_ids"]) == TEXT


def test_the_cost_is_read_off_runs_of_this_machine(written, raw, tmp_path):
    """`slow` has ended with one of two seeds, `fast` not at all, `onward` was cut short."""
    path, folder = written(usd_per_gpu_hour=3.6), tmp_path / "study"
    console = Console(file=io.StringIO(), width=200)
    run_study(None, path, folder, ["slow"], False, console, ["arms.slow.seeds=[0]", "arms.fast.seeds=[0]"])
    outcome = yaml.safe_load((folder / "slow-seed0" / "outcome.json").read_text())
    cost = expected_cost(load_plan(path), path.parent, folder)
    assert cost.seconds["slow"] == pytest.approx(2 * outcome["seconds"])
    assert cost.seconds["fast"] is None and cost.seconds["onward"] is None
    resized = load_plan(path, ["arms.slow.train.tokens_per_forward=77"])
    assert expected_cost(resized, path.parent, folder) == cost, "its results count, and so does its time"
    other = load_plan(path, ["arms.slow.optim.lr=0.5"])
    assert expected_cost(other, path.parent, folder).seconds["slow"] is None

    (folder / "slow-seed0" / "outcome.json").unlink()
    log = folder / "slow-seed0" / "run" / "metrics.jsonl"
    lines = [yaml.safe_load(line) for line in log.read_text().splitlines()]
    steps = [line["seconds"] for line in lines if "seconds" in line]
    assert len(steps) == 3
    assert expected_cost(load_plan(path), path.parent, folder).seconds["slow"] == pytest.approx(
        2 * sum(steps), rel=1e-6
    )
    machine = folder / "environment.json"
    machine.write_text(machine.read_text().replace('"processor": "', '"processor": "another '))
    assert expected_cost(load_plan(path), path.parent, folder).seconds["slow"] is None


def test_the_cost_in_words():
    """Two hours and one of three arms unknown: $7.20 at $3.60 per hour."""
    time, money = ExpectedCost({"a": 3600.0, "b": 3600.0, "c": None}, 3.6).in_words()
    assert time == "expected time of 2 of 3 arms: 2 h; not measured on this machine: c."
    assert money == "expected cost of 2 of 3 arms: $7.20 at $3.6 per GPU hour."
    time, money = ExpectedCost({"a": 90.0}, None).in_words()
    assert time == "expected time of all arms: 1 min 30 s."
    assert money == "expected cost: unknown; set usd_per_gpu_hour in the plan."
