"""Blocks that are measured by held-out pairs in place of prompts."""

import io
import json

import pytest
from rich.console import Console

from boresight.core.errors import UserError
from boresight.core.files import read_state
from boresight.experiments.study.command import run_study
from boresight.experiments.study.outcomes.file import read_outcome_file
from boresight.experiments.study.overrides import load_plan
from boresight.experiments.study.plan import ArmRun, arm_recipe


@pytest.fixture
def ranked(written, raw, tiny_base, tmp_path):
    """Two arms of pairs, measured by eight held-out pairs of which six are used."""
    held_out = (tiny_base / "pairs.jsonl").read_text().splitlines()[:8]
    rows = [json.loads(line) | {"prompt": f"tell {n}"} for n, line in enumerate(held_out)]
    (tmp_path / "held-out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arm = {"group": "pairs", "recipe": "dpo.yaml", "block": "R", "keep_weights": False}
    raw["answers"], raw["comparisons"], raw["figures"] = None, [], {}
    raw["arms"] = {
        "slow": {**arm, "title": "Slow"},
        "fast": {**arm, "title": "Fast", "set": {"optim.lr": 0.01}, "seeds": [0, 1]},
    }
    raw["outcomes"] = str(tmp_path / "page" / "outcomes")
    pairs = str(tmp_path / "held-out.jsonl")
    raw["blocks"] = {"R": {"title": "Ranked", "start": str(tiny_base / "model"), "pairs": pairs, "limit": 6}}
    return written


def carry(path, folder, *, rehearsing=False):
    console = Console(file=io.StringIO(), width=200, soft_wrap=True)
    failed = run_study(None, path, folder, (), False, console, (), rehearsing).failed
    return failed, console.file.getvalue()


def test_every_run_ranks_the_pairs_of_its_block(ranked, tmp_path):
    failed, said = carry(ranked(), tmp_path / "study")
    assert failed == 0, said
    outcomes = tmp_path / "page" / "outcomes" / "R"
    fast, start = (read_outcome_file(outcomes / f"{name}.jsonl.gz") for name in ("fast-seed1", "start"))
    end = read_state(tmp_path / "study" / "fast-seed1" / "run" / "end.json")["numbers"]
    assert fast.values("margin") == end["margin"] and fast.values("reward") == end["accuracy"]
    assert len(fast.prompts) == 6 and set(start.values("margin")) == set(fast.values("margin"))
    assert set(start.values("margin").values()) == {0.0} and set(start.values("reward").values()) == {0.5}
    assert any(fast.values("margin").values())
    page = (tmp_path / "page" / "results.md").read_text()
    assert "the share of 6 held-out pairs ranked right" in page and "| margin |" in page
    start = next(line for line in page.splitlines() if line.startswith("| start: "))
    assert "| 50.0 % by construction |" in start and "| 0.0 nats by construction |" in start


def test_pairs_of_one_prompt_have_it_as_their_topic(ranked, tmp_path):
    """Of the six pairs that are used, several share one of four prompts."""
    path = ranked()
    rows = [json.loads(line) for line in (tmp_path / "held-out.jsonl").read_text().splitlines()]
    rows = [row | {"prompt": f"tell {n % 4}"} for n, row in enumerate(rows)]
    (tmp_path / "held-out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    failed, said = carry(path, tmp_path / "study")
    assert failed == 0, said
    outcomes = tmp_path / "page" / "outcomes" / "R"
    for name in ("slow-seed0", "start"):
        found = read_outcome_file(outcomes / f"{name}.jsonl.gz")
        assert len(found.prompts) == 6 and len(set(found.topics.values())) == 4
    assert "6 held-out pairs of 4 prompts ranked right" in (tmp_path / "page" / "results.md").read_text()


def test_a_rehearsal_ranks_pairs_too(ranked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, said = carry(ranked(), tmp_path / "study", rehearsing=True)
    assert failed == 0 and "[2/2] fast: passed" in said, said


def test_no_run_trains_on_the_pairs_of_its_block(ranked, tmp_path):
    path = ranked()
    recipe = arm_recipe(load_plan(path), path.parent, ArmRun("slow", 0))
    assert (recipe.data.eval, recipe.data.eval_rows) == (str(tmp_path / "held-out.jsonl"), 6)
    plan = load_plan(path, [f"arms.slow.data.train={tmp_path / 'held-out.jsonl'}"])
    with pytest.raises(UserError, match=r"arm slow: data\.train names the held-out pairs of its block"):
        arm_recipe(plan, path.parent, ArmRun("slow", 0))


def test_a_method_that_ranks_no_pairs_is_refused(ranked, raw, tmp_path):
    raw["arms"]["slow"]["set"] = {"method": {"name": "sft"}}
    failed, said = carry(ranked(), tmp_path / "study")
    assert failed == 1 and "a block of pairs takes methods that learn from pairs" in said


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("blocks.R.prompts=x.jsonl", "has prompts or pairs; give exactly one of them"),
        ("blocks.R.pairs=null", "has prompts or pairs; give exactly one of them"),
        ("blocks.R.reward=[{function: constraints}]", "prompts need a reward, and pairs have none"),
        ("blocks.R.limit=null", "pairs need a limit, the largest number that is ranked"),
        ("blocks.R.judge=slow", "pairs are not answered; leave out judge and samples"),
    ],
)
def test_wrong_blocks_of_pairs_are_one_sentence(ranked, override, says):
    with pytest.raises(UserError, match=says):
        load_plan(ranked(), [override])
