"""The page of a plan with blocks: from its files of results alone, with numbers worked by hand."""

import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from boresight.core.errors import UserError
from boresight.experiments.study.blocks import START
from boresight.experiments.study.command import run_study
from boresight.experiments.study.outcomes.block_results import block_results
from boresight.experiments.study.outcomes.collection import Outcomes
from boresight.experiments.study.outcomes.file import (
    OutcomeFile,
    PromptResult,
    outcome_path,
    write_outcome_file,
)
from boresight.experiments.study.outcomes.questions import AnsweredQuestion, questions_headline
from boresight.experiments.study.outcomes.samples import ShownAnswer
from boresight.experiments.study.outcomes.settings import outcome_settings, start_settings
from boresight.experiments.study.outcomes.stops import write_stops
from boresight.experiments.study.overrides import load_plan
from boresight.experiments.study.plan import ArmRun
from boresight.experiments.study.report.outcome_page import outcome_page_files, page_folder
from boresight.experiments.study.storage import ArmOutcome, Study, open_study
from boresight.stats.confirmatory import Decision
from boresight.stats.intervals import SHARE
from boresight.stats.pooled_seeds import SeedValues, pooled_difference, pooled_mean

HOSTILE = "</details><script>alert(1)</script>"
RIGHT = {
    START: {None: [0, 0, 1, 1]},
    "dpo": {0: [1, 0, 1, 1], 1: [1, 1, 1, 1]},
    "rloo": {0: [1, 0, 1, 0], 1: [0, 0, 1, 1]},
    "grpo": {0: [0, 1, 1, 1]},
}
"""Whether each of four prompts, two of either topic, was answered right, by arm and seed."""
AREAS = {("rloo", 0): 0.5, ("rloo", 1): 0.6}
TOPICS = {"p0": "tea", "p1": "tea", "p2": "sea", "p3": "sea"}

ROOT = Path(__file__).parents[3]
SHIPPED = [
    path
    for path in sorted((ROOT / "recipes" / "study").glob("plan-*.yaml"))
    if (plan := load_plan(path)).blocks and (ROOT / str(plan.outcomes)).is_dir()
]
"""Plans whose outcomes are committed."""


@pytest.fixture
def written_plan(written, raw, tmp_path):
    """A plan of one block with five arms of which one has no results, and its recipe."""
    arm = {"group": "pairs", "recipe": "dpo.yaml", "block": "B"}
    raw["answers"] = None
    raw["comparisons"], raw["figures"] = [], {}
    raw["groups"] = {
        "pairs": {"title": "Two seeds & more", "metrics": []},
        "single": {"title": "One seed", "metrics": []},
    }
    raw["arms"] = {
        "dpo": {**arm, "title": "DPO <b>", "seeds": [0, 1], "verifier_calls": 96},
        "grpo": {**arm, "title": "GRPO", "group": "single"},
        "rloo": {**arm, "title": "RLOO", "seeds": [0, 1]},
        "kto": {**arm, "title": "KTO", "seeds": [0, 1, 2]},
    }
    raw["outcomes"] = str(tmp_path / "page" / "outcomes")
    raw["blocks"] = {
        "B": {
            "title": "Methods",
            "start": "starter",
            "prompts": "test.jsonl",
            "reward": [{"function": "mine:score"}, {"function": "mine:whole_answer", "weight": 0}],
            "topic": "topic",
        }
    }
    raw["protocol"] = str(tmp_path / "plan.md")
    (tmp_path / "plan.md").write_text(f"We ask {HOSTILE} before.")
    raw["deviations"] = [{"date": "2026-11-29", "text": f"The rate was halved {HOSTILE}."}]
    raw["questions"] = [
        {"title": "RLOO against DPO", "of": "dpo", "to": "rloo", "margin": 0.05, "pool": ["dpo", "rloo"]}
    ]
    path = written()
    plan = load_plan(path)
    for name, by_seed in RIGHT.items():
        for seed, right in by_seed.items():
            write(plan, path.parent, name, seed, right)
    return path


def write(plan, here, name, seed, right):
    """Results of an arm: 2 minutes, 10 verifier calls of its own, and an answer to read."""
    run = None if seed is None else ArmRun(name, seed)
    rows = [
        PromptResult(
            f"p{i}", TOPICS[f"p{i}"], {"score": [float(v)], "whole_answer": [1.0], "reward": [float(v)]}
        )
        for i, v in enumerate(right)
    ]
    settings = outcome_settings(plan, here, run) if run else start_settings(plan, here, "B")
    numbers, curve, environment = {"seconds": 0.0}, [], {}
    if run:
        numbers = {"seconds": 90.0 + 60 * seed, "verifier_calls": 96.0, "trained_tokens": 1000.0}
        numbers |= {"training_rows": 30.0 + 4 * seed} if name == "dpo" else {}
        environment = {"processor": HOSTILE, "commit": "abc", "packages": {"torch": "2.7"}}
    if (name, seed) in AREAS:
        numbers |= {"area": AREAS[name, seed], "informative_prompts": 7.0}
        curve = [(0, 0.4), (32, AREAS[name, seed]), (64, 0.8)]
    answers = [ShownAnswer("p0", f"Say {HOSTILE}", f"{name} {HOSTILE}"), ShownAnswer("p1", "x", None)]
    outcome = OutcomeFile(name, seed, settings, numbers, curve, environment, rows, answers)
    write_outcome_file(outcome_path(here / "page" / "outcomes", "B", run), outcome)


def report(path, *overrides, **more):
    console = Console(file=io.StringIO(), width=200, soft_wrap=True)
    options = {"only": (), "report_only": True, "folder": None} | more
    failed = run_study(
        None, path, options.pop("folder"), options.pop("only"), False, console, overrides, **options
    ).failed
    assert failed == 0
    return console.file.getvalue()


def cells(folder, block="B"):
    """Printed text of the CSV by arm or question, and column."""
    rows = csv.DictReader((folder / "results.csv").open())
    return {(r["name"], r["column"]): r["text"].removeprefix("'") for r in rows if r["block"] == block}


def test_the_page_is_made_from_files_alone(written_plan, tmp_path, monkeypatch):
    """Means: start 2 of 4; DPO (3 + 4) of 8; RLOO (2 + 2) of 8; GRPO 3 of 4.

    DPO takes (90 + 150) / 2 s = 2 min a run; the five runs take 90 + 150, 90 + 150 and 90 s.
    """
    monkeypatch.chdir(tmp_path)
    said = report(written_plan)
    folder = tmp_path / "page"
    assert said == f"report: {folder}/index.html\n" and not (tmp_path / "runs").exists()
    found = cells(folder)
    assert found["start", "reward"].startswith("50.0 % [")
    assert found["dpo", "reward"].startswith("87.5 % [") and "n =" not in found["dpo", "reward"]
    assert found["dpo", "reward against the start"].startswith("+37.5 points [")
    assert found["rloo", "reward against the start"].startswith("0.0 points [")
    assert found["rloo", "area"].startswith("55.0 % [") and ("dpo", "area") not in found
    assert found["dpo", "verifier calls"] == "96" and found["rloo", "informative prompts"] == "7"
    assert found["dpo", "training rows"] == "32" and ("rloo", "training rows") not in found
    assert found["dpo", "time"] == "2 min" and found["grpo", "time"] == "1 min 30 s"
    assert found["dpo", "seeds"] == "2 of 2" and found["kto", "seeds"] == "0 of 3"
    assert found["grpo", "seeds"] == "1 of 1 intervals over prompts alone"
    assert found["dpo", "whole answer"].startswith("100.0 % [")
    assert ("dpo", "score") not in found  # it is the whole reward
    page = (folder / "index.html").read_text()
    assert "Missing in Methods: KTO, all seeds." in page
    assert "<td>5 of 8</td><td>9 min 30 s</td><td>480</td><td>5,000</td>" in page
    assert sorted(p.name for p in (folder / "figures").iterdir()) == [
        "B-arms.svg",
        "B-curves.svg",
        "questions.svg",
    ]
    assert {p.name for p in folder.iterdir()} == {
        "figures",
        "index.html",
        "outcomes",
        "results.csv",
        "results.md",
    }


def test_intervals_pool_the_seeds_of_a_group_and_cluster_topics(written_plan):
    plan = load_plan(written_plan)
    found = {arm.arm: arm for arm in block_results(Outcomes(plan), "B").lines}
    values = {
        name: SeedValues(
            [{f"p{i}": float(v) for i, v in enumerate(right)} for right in by_seed.values()],
            trained=name in ("dpo", "rloo"),
        )
        for name, by_seed in RIGHT.items()
    }
    pool = [values["dpo"], values["rloo"]]
    assert found["dpo"].means["reward"] == pooled_mean(values["dpo"], pool, TOPICS, bounds=SHARE)
    against = pooled_difference(values[START], values["dpo"], pool, TOPICS, bounds=SHARE).mean
    assert found["dpo"].differences["reward"] == against
    assert found["grpo"].prompts_only and not found["dpo"].prompts_only
    assert found["grpo"].means["reward"] == pooled_mean(values["grpo"], [], TOPICS, bounds=SHARE)
    assert found["kto"].means == {} and found["kto"].missing == ["0", "1", "2"]


def test_texts_of_models_and_plans_stay_text(written_plan, tmp_path):
    report(written_plan)
    for name in ("index.html", "figures/B-arms.svg", "figures/B-curves.svg", "figures/questions.svg"):
        text = (tmp_path / "page" / name).read_text()
        assert "<script>alert" not in text and "DPO <b>" not in text, name
    page = (tmp_path / "page" / "index.html").read_text()
    escaped = HOSTILE.replace("<", "&lt;").replace(">", "&gt;")
    for each in (f"rloo {escaped}", f"Say {escaped}", f"halved {escaped}.", f"We ask {escaped} before."):
        assert each in page
    assert "<b>2026-11-29</b>" in page and '<a href="../plan.md">' in page
    assert page.count(">no answer<") == 4 and "reward 1.0" in page


def test_the_same_files_make_the_same_page(written_plan, tmp_path):
    report(written_plan)
    files = [p for p in (tmp_path / "page").rglob("*") if p.is_file()]
    before = {path: path.read_bytes() for path in files}
    report(written_plan)
    assert {path: path.read_bytes() for path in before} == before
    (tmp_path / "page" / "outcomes" / "B" / "rloo-seed1.jsonl.gz").unlink()
    report(written_plan)
    changed = {path.name for path, was in before.items() if path.exists() and path.read_bytes() != was}
    assert {"index.html", "results.csv", "results.md", "B-arms.svg"} <= changed
    assert not (tmp_path / "page" / "figures" / "questions.svg").exists()
    page = (tmp_path / "page" / "index.html").read_text()
    assert "RLOO, seed 1; KTO, all seeds." in page
    assert "No question is decided yet, since 1 file of results is missing; 4 of 8 runs have results." in page


def test_files_of_no_arm_and_changes_of_the_plan_are_named(written_plan, tmp_path):
    extra = tmp_path / "page" / "outcomes" / "B" / "gone-seed0.jsonl.gz"
    extra.write_text("{}\n")
    report(written_plan, "arms.kto.seeds=[0]")
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Files that are not in the plan and not on this page: B/gone-seed0.jsonl.gz." in page
    assert "The plan was changed on the command line: arms.kto.seeds=[0]." in page
    assert "KTO, its seed." in page


@pytest.mark.parametrize(
    ("override", "options", "says"),
    [
        ("blocks.B.limit=3", {}, "start.jsonl.gz: holds results with other settings: block.limit was"),
        ("arms.rloo.optim.lr=0.5", {}, "rloo-seed0.jsonl.gz: holds results with other settings"),
        ("protocol=nowhere.md", {}, "protocol: there is no file nowhere.md"),
        ("protocol=id_rsa", {}, "protocol: id_rsa is no text for the page"),
        ("title=t", {"only": ["dpo"]}, "--report-only runs nothing; leave out --arm"),
        ("title=t", {"minutes": 3.0}, "--report-only runs nothing"),
    ],
)
def test_what_cannot_be_reported_is_one_sentence(written_plan, tmp_path, override, options, says):
    with pytest.raises(UserError, match=says):
        report(written_plan, override, **options)
    assert not (tmp_path / "page" / "index.html").exists()


def test_results_stay_valid_with_forwards_of_another_size(written_plan, tmp_path):
    """`train.tokens_per_forward` changes no result, and its default has been another one."""
    report(written_plan, "arms.rloo.train.tokens_per_forward=77")
    assert (tmp_path / "page" / "index.html").exists()


def test_a_plan_without_blocks_needs_its_folder(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no study to report"):
        report(written())
    assert not (tmp_path / "runs").exists()


def test_a_study_folder_without_its_settings_is_named(written, tmp_path):
    """Runs are there, but nothing states their settings: neither a report nor a run takes the folder."""
    (tmp_path / "mine" / "slow-seed0").mkdir(parents=True)
    says = r"mine: there is no study to report, the folder has no settings\.yaml of a study"
    with pytest.raises(UserError, match=says):
        report(written(), folder=tmp_path / "mine")
    says = r"mine: exists but holds no study, it has no settings\.yaml; restore that file, or give another"
    with pytest.raises(UserError, match=says):
        open_study(load_plan(written()), tmp_path, tmp_path / "mine")


def test_a_run_that_the_guard_stopped_is_missing_with_its_reason(written_plan, tmp_path):
    """KTO has three seeds without results. The guard stopped the second, of which this machine has a log."""
    plan, run = load_plan(written_plan), ArmRun("kto", 1)
    study = Study(plan, written_plan.parent, tmp_path / "study")
    why = f"stopped by the guard at step 40: KL 0.3 {HOSTILE}. The run ends with the start model."
    study.job_folder(run).mkdir(parents=True)
    study.close(run, ArmOutcome(1.0, why, stopped=True))
    write_stops(study)
    (file,) = (tmp_path / "page" / "outcomes" / "B").glob("*.stopped.json")
    assert file.name == "kto-seed1.stopped.json"
    report(written_plan)
    text = (tmp_path / "page" / "results.md").read_text()
    assert f"Missing in Methods: KTO, seeds 0, 1 ({why[:-1]}), 2." in text
    assert "0 of 3, 1 stopped" in text
    assert HOSTILE not in (tmp_path / "page" / "index.html").read_text()
    page = (tmp_path / "page" / "index.html").read_bytes()
    written = file.stat().st_mtime_ns
    write_stops(study)
    report(written_plan)
    assert file.stat().st_mtime_ns == written and (tmp_path / "page" / "index.html").read_bytes() == page
    file.write_text(file.read_text().replace("40", "41"))
    with pytest.raises(UserError, match=r"kto-seed1\.stopped\.json: this file is torn or was edited"):
        report(written_plan)


def test_a_plan_of_which_nothing_was_run_has_a_page(written_plan, tmp_path):
    report(written_plan, f"outcomes={tmp_path}/other/outcomes")
    page = (tmp_path / "other" / "index.html").read_text()
    assert "0 of 8 runs have results" in page and "the start model; DPO &lt;b&gt;, all seeds" in page
    assert not re.search(r"\bnan\b", page[: page.index("<script")])


def test_the_headline_counts_verdicts(written_plan):
    plan = load_plan(written_plan)

    def answered(title, answer, within=False):
        decided = Decision(None, answer, 0.04, None, within_margin=within)
        return AnsweredQuestion(plan.questions[0].model_copy(update={"title": title}), decided)

    both = [
        answered("A", "better"),
        answered("B", "worse", within=True),
        answered("C", "undecided"),
        answered("D", "undecided"),
    ]
    assert questions_headline(both) == (
        "2 of 4 questions show a difference: A (better); B (worse, within the margin). "
        "Of the others, 2 are undecided."
    )
    assert questions_headline(both[:1]) == "1 of 1 question shows a difference: A (better)."
    assert questions_headline([answered("E", "equivalent"), *both[2:]]) == (
        "None of 3 questions shows a difference: 1 is equivalent, 2 are undecided."
    )


def alike(committed, text):
    """Whether all words agree, and all numbers to seven digits: their last ones depend on numpy and scipy."""
    ours, theirs = (re.split(r"(\d+\.\d+)", page) for page in (committed, text))
    numbers = [[float(number) for number in parts[1::2]] for parts in (ours, theirs)]
    return ours[::2] == theirs[::2] and numbers[0] == pytest.approx(numbers[1], rel=1e-7)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_committed_pages_are_those_of_their_outcomes(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan, remedy = load_plan(path), f"run `boresight study --plan {path.relative_to(ROOT)} --report-only`"
    for name, text in outcome_page_files(plan, path.parent).items():
        file = page_folder(plan) / name
        assert file.exists() == (text is not None), f"{file}: {remedy}"
        if text is not None:
            committed = file.read_text(encoding="utf-8")
            assert committed == text or alike(committed, text), f"{file} is older: {remedy}"
