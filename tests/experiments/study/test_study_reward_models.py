"""Arms that a reward model rewards, and blocks that one measures."""

import io
import json

import pytest
import yaml
from rich.console import Console

from boresight.core.errors import UserError
from boresight.experiments.study.blocks import JUDGED, START
from boresight.experiments.study.command import run_study
from boresight.experiments.study.outcomes.file import OutcomeFile, PromptResult, read_outcome_file
from boresight.experiments.study.outcomes.label_use import held_out_parts
from boresight.experiments.study.outcomes.settings import outcome_settings
from boresight.experiments.study.outcomes.values import wins_over
from boresight.experiments.study.overrides import load_plan
from boresight.experiments.study.plan import ArmRun, arm_recipe, needed_runs
from boresight.reports.read_run import RunData

SHORT = {"rollout": {"k": 2, "max_new_tokens": 4}, "train": {"batch": 2, "steps": 2, "eval_every": 1}}


@pytest.fixture
def judged(written, raw, tiny_base, tmp_path):
    """A reward model, an arm that it rewards, an arm of pairs, and a block in which it scores all answers."""
    written()
    prompts = [{"id": f"p{n}", "prompt": f"say {n}", "meta": {"topic": "tea"}} for n in range(4)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    recipe = yaml.safe_load((tmp_path / "dpo.yaml").read_text()) | SHORT
    recipe["method"] = {"name": "rloo"}
    recipe["data"] = {"train": str(tmp_path / "asked.jsonl"), "eval_rows": 0}
    recipe["evaluate"] |= {"prompts": str(tmp_path / "asked.jsonl"), "max_new_tokens": 4}
    recipe["reward"] = [{"function": "tests.rewards:length"}]
    (tmp_path / "rloo.yaml").write_text(yaml.safe_dump(recipe))
    arm = {"group": "pairs", "recipe": "dpo.yaml", "minutes": 1}
    raw["answers"], raw["comparisons"], raw["figures"] = None, [], {}
    raw["arms"] = {
        "rm": {**arm, "title": "Judge", "set": {"method": {"name": "reward"}}, "keep_weights": False},
        "pairs": {**arm, "title": "Pairs", "block": "B"},
        "paid": {**arm, "title": "Paid", "block": "B", "recipe": "rloo.yaml", "rewarded_by": "rm"},
    }
    raw["arms"]["paid"]["verifier_calls"] = 96
    raw["outcomes"] = str(tmp_path / "page" / "outcomes")
    raw["blocks"] = {
        "B": {
            "title": "Methods",
            "start": str(tiny_base / "model"),
            "prompts": str(tmp_path / "test.jsonl"),
            "reward": [{"function": "tests.rewards:length"}],
            "judge": "rm",
            "max_new_tokens": 4,
        }
    }
    return written


def carry(path, folder, *, rehearsing=False, only=()):
    console = Console(file=io.StringIO(), width=200, soft_wrap=True)
    failed = run_study(None, path, folder, only, False, console, (), rehearsing).failed
    return failed, console.file.getvalue()


def test_a_reward_model_rewards_an_arm_and_scores_every_answer(judged, tmp_path):
    path, folder = judged(), tmp_path / "study"
    failed, said = carry(path, folder, only=["pairs", "paid", "rm"])
    assert failed == 0, said
    outcomes = tmp_path / "page" / "outcomes" / "B"
    paid, pairs, start = (
        read_outcome_file(outcomes / f"{name}.jsonl.gz") for name in ("paid-seed0", "pairs-seed0", "start")
    )
    for file in (paid, pairs, start):
        assert all(value is not None for value in file.values(JUDGED).values())
        assert file.values("reward") == file.values("length")  # the score of the judge is in no total
    assert set(paid.parts) == {JUDGED, "length"} and pairs.parts == {}
    assert [step for step, _ in paid.parts["length"]] == [0, 1, 2]
    rewards = dict(paid.curve)
    assert list(rewards.values()) == [value for _, value in paid.parts[JUDGED]]  # the judge pays alone
    assert paid.numbers["verifier_calls"] == 96  # those of its labels: what it samples is only measured
    assert paid.settings["judge"]["recipe"]["method"]["name"] == "reward"
    assert paid.settings["recipe"]["reward"][0]["judge"]["model"] == "arm rm-seed0"
    assert start.settings["block_judge"] == paid.settings["judge"]
    assert (folder / "rm-seed0" / "run" / "model").is_dir()  # although the plan does not keep it
    shown = (tmp_path / "page" / "index.html").read_text()
    assert "A reward model as the reward" in shown and "win rate" in shown
    assert (tmp_path / "page" / "figures" / "B-judged-reward_model.svg").exists()


def test_results_of_another_reward_model_are_refused(judged, tmp_path):
    path = judged()
    assert carry(path, tmp_path / "study")[0] == 0
    plan = load_plan(path, ["arms.rm.optim.lr=0.5"])
    assert (
        outcome_settings(plan, path.parent, ArmRun("pairs", 0))["block_judge"]["recipe"]["optim"]["lr"] == 0.5
    )
    with pytest.raises(UserError, match=r"block_judge\.recipe\.optim\.lr was 1e-06 and is 0\.5"):
        run_study(
            None, path, tmp_path / "other", (), False, Console(file=io.StringIO()), ["arms.rm.optim.lr=0.5"]
        )


def test_an_arm_without_its_reward_model_says_which_it_needs(judged, tmp_path):
    failed, said = carry(judged(), tmp_path / "study", only=["paid"])
    assert failed == 1 and "rm with seed 0, whose model it needs, is not finished" in said


def test_a_rehearsal_trains_the_reward_model_first(judged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, said = carry(judged(), tmp_path / "study", rehearsing=True, only=["paid"])
    assert failed == 0 and "[1/2] rm: passed" in said and "[2/2] paid: passed" in said, said


def test_an_arm_needs_what_it_starts_from_and_is_judged_by(judged):
    path = judged()
    plan = load_plan(path, ["blocks.B.start=rm"])
    assert needed_runs(plan, ArmRun("paid", 0)) == [ArmRun("rm", 0)]  # once, though for three reasons
    assert needed_runs(plan, ArmRun("rm", 0)) == []
    recipe = arm_recipe(plan, path.parent, ArmRun("paid", 0), judge="runs/x")
    assert [reward.weight for reward in recipe.reward] == [1.0, 0.0]
    assert recipe.reward[0].judge == {"name": "reward_model", "model": "runs/x"}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["arms.paid.rewarded_by=judge"], "is rewarded by 'judge', which must stand before it"),
        (["arms.paid.seeds=[0,1]"], "is rewarded by 'rm', which lacks one of its seeds"),
        (["blocks.B.judge=mr"], "blocks.B.judge names 'mr', which does not exist.*'rm'"),
        (["blocks.B.judge=pairs"], "its judge 'pairs' is in a block itself"),
        (["blocks.B.reward=[{judge: {name: reward_model, model: x}}]"], "leave out judge"),
    ],
)
def test_wrong_judges_are_one_sentence(judged, overrides, says):
    with pytest.raises(UserError, match=says):
        load_plan(judged(), overrides)


def test_the_win_rate_counts_ties_half_and_no_missing_score():
    """Scores 0, 0, 1, missing, 2 and twice 1 of the start; 1, 0, 0, 1, missing, 1 as another processor rounds
    it, and 1.001 of the arm."""

    def file(arm, seed, scores):
        rows = [PromptResult(f"p{i}", None, {JUDGED: [score]}) for i, score in enumerate(scores)]
        return OutcomeFile(arm, seed, {}, {}, [], {}, rows)

    start = file(START, None, [0.0, 0.0, 1.0, None, 2.0, 1.0, 1.0])
    (wins,) = wins_over(start, [file("a", 0, [1.0, 0.0, 0.0, 1.0, None, 1.000006, 1.001])]).by_seed
    assert wins == {"p0": 1.0, "p1": 0.5, "p2": 0.0, "p3": None, "p4": None, "p5": 0.5, "p6": 1.0}


def test_parts_of_a_run_are_those_of_several_rewards(tmp_path):
    held_out = [
        {"step": 0, "reward": 1.0, "reward_error": 0.1, "reward_a": 1.0, "reward_b": 0.25},
        {"step": 5, "reward": 2.0, "reward_error": 0.1, "reward_a": 2.0, "reward_b": None},
    ]
    log = RunData("run", tmp_path, finished=True, eval=held_out)
    assert held_out_parts(log) == {"a": [(0, 1.0), (5, 2.0)], "b": [(0, 0.25)]}
    alone = [{"step": 0, "reward": 1.0, "reward_error": 0.1}]
    assert held_out_parts(RunData("run", tmp_path, finished=True, eval=alone)) == {}
