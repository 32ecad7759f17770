"""Blocks of a plan: results by prompt in files, from which a comparison continues on any machine."""

import gzip
import io
import json
import math
import shutil
import tempfile
import time

import pytest
import yaml
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import json_line, read_state, with_checksum, write_gzip
from boresight.core.schema import Prompt
from boresight.evaluation.response import Response
from boresight.experiments.study import arms as study_arms
from boresight.experiments.study.blocks import Block
from boresight.experiments.study.command import run_study
from boresight.experiments.study.outcomes.file import (
    OutcomeFile,
    PromptResult,
    read_header,
    read_outcome_file,
    write_outcome_file,
)
from boresight.experiments.study.outcomes.measure import read_test_prompts
from boresight.experiments.study.outcomes.samples import LONGEST_ANSWER, ShownAnswer, shown_answers
from boresight.experiments.study.overrides import load_plan
from boresight.experiments.study.plan import ArmRun, StudyPlan, arm_recipe, start_run
from boresight.experiments.study.progress import TimeLeft
from boresight.training.optimizer.learning_rate import learning_rate_sum


def carry(path, folder, *overrides, only=(), minutes=None):
    console = Console(file=io.StringIO(), width=200, soft_wrap=True)
    failed = run_study(None, path, folder, only, False, console, overrides, False, minutes).failed
    return failed, console.file.getvalue()


@pytest.fixture
def blocked(written, raw, tiny_base, tmp_path):
    """A plan of one block: its start is trained first, two arms of it with two seeds and one."""
    prompts = [
        {
            "id": "same" if n < 2 else f"p{n}",
            "prompt": f"say {n}",
            "meta": {"topic": f"t{n % 2}", "constraint": {"kind": "max_words", "params": {"n": 15}}},
        }
        for n in range(5)
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    arm = {"group": "pairs", "recipe": "dpo.yaml", "minutes": 1}
    raw["answers"], raw["comparisons"] = None, []
    raw["arms"] = {
        "first": {**arm, "title": "First"},
        "slow": {**arm, "title": "Slow", "block": "B", "seeds": [0, 1], "keep_weights": False},
        "fast": {**arm, "title": "Fast", "block": "B", "set": {"optim.lr": 0.01}, "verifier_calls": 96},
    }
    raw["outcomes"] = str(tmp_path / "outcomes")
    raw["blocks"] = {
        "B": {
            "title": "Methods",
            "start": "first",
            "prompts": str(tmp_path / "test.jsonl"),
            "reward": [{"function": "tests.rewards:length"}, {"function": f"{__name__}:vowels", "weight": 0}],
            "samples": 2,
            "temperature": 1.0,
            "max_new_tokens": 4,
            "limit": 4,
            "topic": "topic",
        }
    }
    return written


def vowels(prompts, completions, rows):
    return [None if "a" in text else 1.0 for text in completions]


def test_an_arm_is_checked_and_reported_with_the_rate_that_a_ramp_chose(blocked, raw, tmp_path):
    raw["arms"]["fast"]["set"] = {"optim.lr": "auto", "train.steps": 30}
    path, folder = blocked(), tmp_path / "study"
    failed, said = carry(path, folder, only=["first", "fast"])
    assert failed == 0, said
    kept = Recipe.load(folder / "fast-seed0" / "run" / "config.yaml")
    check = read_state(folder / "fast-seed0" / "check.json")
    assert check["budget"] == pytest.approx(learning_rate_sum(kept.train.steps, kept.optim))
    fast = read_outcome_file(tmp_path / "outcomes" / "B" / "fast-seed0.jsonl.gz")
    assert fast.settings["recipe"]["optim"]["lr"] == "auto"  # what was planned, beside what was chosen
    assert fast.numbers["learning_rate"] == kept.optim.lr and fast.numbers["steps"] == kept.train.steps
    page = (tmp_path / "index.html").read_text()
    assert f"lr {kept.optim.lr:.2g} (auto), beta 0.1, {kept.train.steps} steps of 4" in page


def test_each_arm_and_seed_has_a_file_and_is_not_run_again(blocked, tmp_path):
    path, folder, outcomes = blocked(), tmp_path / "study", tmp_path / "outcomes" / "B"
    failed, _ = carry(path, folder)
    assert failed == 0
    names = ["fast-seed0.jsonl.gz", "slow-seed0.jsonl.gz", "slow-seed1.jsonl.gz", "start.jsonl.gz"]
    assert sorted(file.name for file in outcomes.iterdir()) == names
    fast, start = (read_outcome_file(outcomes / f"{name}.jsonl.gz") for name in ("fast-seed0", "start"))
    assert (fast.arm, fast.seed, start.seed) == ("fast", 0, None)
    assert fast.numbers["verifier_calls"] == 96 and fast.numbers["seconds"] > 0 and "area" not in fast.numbers
    # Of 24 prompts with two pairs each, four are held out.
    assert fast.numbers["training_rows"] == 40 and "informative_prompts" not in fast.numbers
    assert [result.id for result in fast.prompts] == ["same", "same#2", "p2", "p3"]
    assert set(fast.topics.values()) == {"t0", "t1"}
    assert all(len(result.rewards["reward"]) == 2 for result in fast.prompts)
    assert fast.values("reward")["p2"] == sum(fast.prompts[2].rewards["length"]) / 2
    with pytest.raises(UserError, match="no 'lenght'"):
        fast.values("lenght")
    assert [shown.id for shown in fast.answers] == [shown.id for shown in start.answers]
    assert [shown.prompt for shown in fast.answers] == ["say 0", "say 1", "say 2", "say 3"]
    assert len(fast.answers[2].answer) == fast.prompts[2].rewards["length"][0]
    assert fast.settings["recipe"]["model"]["name"] == "arm first-seed0"
    assert fast.settings["start"]["recipe"]["optim"]["lr"] == 1e-6
    assert str(tmp_path / "study") not in unpacked(outcomes / "fast-seed0.jsonl.gz")
    assert not (folder / "slow-seed0" / "run" / "model").exists()

    before = {file: file.read_bytes() for file in outcomes.iterdir()}
    shutil.rmtree(folder)  # another machine: the files are there, and nothing else
    failed, said = carry(path, folder, only=["slow", "fast"])
    assert failed == 0 and "Slow" not in said and not (folder / "slow-seed0").exists()
    (outcomes / "slow-seed1.jsonl.gz").unlink()
    asked = "questions=[{title: Faster, of: slow, to: fast, margin: 0.5, pool: [slow, fast]}]"
    failed, said = carry(path, folder, "arms.fast.seeds=[0,3]", asked, only=["first", "fast"])
    assert failed == 0 and "First" in said and "[3/3] Fast, seed 3" in said
    assert "Faster: not decided yet; 1 of its results is missing, B/slow-seed1.jsonl.gz first." in said
    assert "Missing in Methods: Slow, seed 1." in (tmp_path / "results.md").read_text()
    failed, said = carry(path, folder, "arms.fast.seeds=[0,3]", asked)
    assert failed == 0 and "p = " in said and "2 and 2 seeds, n = 4" in said
    assert "- Faster: " in (tmp_path / "results.md").read_text()
    own = (folder / "report" / "results.md").read_text()
    assert f"have a page of their own: {tmp_path}/index.html" in own and "5 of 5 runs have finished" in own
    again = outcomes / "slow-seed1.jsonl.gz"
    assert all(file.read_bytes() == was for file, was in before.items() if file != again)
    # The first line has its seconds.
    assert unpacked(again).split("\n")[1:] == gzip.decompress(before[again]).decode().split("\n")[1:]


def test_results_with_other_settings_are_refused(blocked, tmp_path):
    path = blocked()
    carry(path, tmp_path / "study", "arms.slow.seeds=[0]")
    for override, says in {
        "arms.slow.optim.lr=0.5": "slow-seed0.jsonl.gz: holds results with other settings: recipe.optim.l",
        "blocks.B.limit=3": "block.limit was 4 and is 3",
        "arms.first.optim.lr=0.5": "start.recipe.optim.lr was",
    }.items():
        with pytest.raises(UserError, match=says):
            carry(path, tmp_path / "other", override)
        assert not (tmp_path / "other").exists()
    failed, _ = carry(path, tmp_path / "other", "blocks.B.title=other", "arms.slow.title=x", only=["fast"])
    assert failed == 0


def test_settings_that_came_later_count_at_their_defaults(blocked, tmp_path):
    """Results and a study of a version that had not `optim.states` go on; with another value they do not."""
    path, folder = blocked(), tmp_path / "study"
    carry(path, folder, "arms.slow.seeds=[0]")
    file = tmp_path / "outcomes" / "B" / "fast-seed0.jsonl.gz"
    first = read_outcome_file(file)
    for recipe in (first.settings["recipe"], first.settings["start"]["recipe"]):
        assert recipe["optim"].pop("states") == "float32"
    write_outcome_file(file, first)
    settings = yaml.safe_load((folder / "settings.yaml").read_text())
    for recipe in settings["recipes"].values():
        del recipe["optim"]["states"]
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    before = file.read_bytes()
    failed, said = carry(path, folder, "arms.slow.seeds=[0]")
    assert failed == 0 and "[1/" not in said and file.read_bytes() == before
    with pytest.raises(UserError, match=r"optim\.states was float32 and is 8bit"):
        carry(path, folder, "arms.slow.seeds=[0]", "arms.fast.optim.states=8bit")


def unpacked(path):
    return gzip.decompress(path.read_bytes()).decode()


def test_a_torn_or_edited_file_is_refused(blocked, tmp_path):
    path, rows = tmp_path / "o.jsonl.gz", [PromptResult("a", None, {"reward": [1.0, None]})]
    numbers, shown = (
        {"seconds": 2.5, "area": 0.5},
        [ShownAnswer("a", "say", "six"), ShownAnswer("b", "x", None)],
    )
    outcome = OutcomeFile("fast", 0, {"x": 1}, numbers, [(0, 0.25)], {}, rows, shown)
    write_outcome_file(path, outcome)
    assert read_outcome_file(path) == outcome
    assert outcome.values("reward") == {"a": None} and outcome.values("area") == {"area": 0.5}
    assert outcome.topics is None
    whole = unpacked(path)
    changes = {"1.0": "0.0", "2.5": "3.5", "six": "ten"}
    edited = [whole.replace(was, now) for was, now in changes.items()]
    for broken in (*edited, whole[:-9], "", "[]\n"):
        write_gzip(path, [broken.encode()])
        with pytest.raises(UserError, match="torn or was edited"):
            read_outcome_file(path)
    write_outcome_file(path, outcome)
    for torn in (path.read_bytes()[:-9], b"", whole.encode()):
        path.write_bytes(torn)
        with pytest.raises(UserError, match="torn or was edited"):
            read_outcome_file(path)


@pytest.mark.parametrize("part", ["arm", "curve", "answers", "environment", "numbers"])
def test_a_file_of_another_kind_is_refused(tmp_path, part):
    path = tmp_path / "o.jsonl.gz"
    write_outcome_file(path, OutcomeFile("fast", 0, {}, {}, [], {}, []))
    head = {name: value for name, value in json.loads(unpacked(path)).items() if name != part}
    head |= {part: [7]} if part in ("curve", "answers") else {}
    head |= {part: {"area": math.nan}} if part == "numbers" else {}
    write_gzip(path, [json_line(with_checksum(head))])
    with pytest.raises(UserError, match="holds no results of an arm"):
        read_outcome_file(path)


def test_files_without_answers_are_read(tmp_path):
    path = tmp_path / "o.jsonl.gz"
    write_outcome_file(path, OutcomeFile("fast", 0, {}, {}, [], {}, []))
    head = json.loads(unpacked(path))
    assert head.pop("answers") == []
    write_gzip(path, [json_line(with_checksum(head))])
    assert read_outcome_file(path).answers == []


def test_answers_are_few_short_and_spread_over_the_prompts():
    prompts = [Prompt([{"role": "user", "content": f"say {n}"}], f"p{n}") for n in range(13)]
    prompts[0] = Prompt([{"role": "system", "content": "Be \x1b[2Jkind."}, *prompts[0].prompt], "p0")
    texts = ["a\u202eb\x00", None, *["x" * 9999] * 11]
    shown = shown_answers(prompts, [[Response(text), Response("second")] for text in texts])
    assert [answer.id for answer in shown] == ["p0", "p2", "p4", "p6", "p8", "p10"]
    assert shown[0] == ShownAnswer("p0", "system: Be ␛[2Jkind.\n\nuser: say 0", "a\ufffdb␀")
    assert shown[1].answer == "x" * LONGEST_ANSWER + "…"
    assert shown_answers(prompts[1:2], [[Response(None)]]) == [ShownAnswer("p1", "say 1", None)]
    assert shown_answers([], []) == []


def test_time_that_is_up_stops_between_runs(blocked, tmp_path, monkeypatch):
    """Planned as one minute each: with 1.5 minutes the second is not begun, unless the first was faster."""
    clock = iter(range(0, 10**6, 30))
    monkeypatch.setattr(study_arms.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(TimeLeft, "_rate", property(lambda _: 1.0))
    failed, said = carry(blocked(), tmp_path / "study", minutes=1.5)
    assert failed == 0 and "[1/4] First" in said and "[2/4]" not in said
    assert "1.5 minutes are up; the same command continues with the 3 other runs" in said
    monkeypatch.setattr(study_arms.time, "monotonic", time.perf_counter)
    failed, said = carry(blocked(), tmp_path / "study", minutes=60)
    assert failed == 0 and "[4/4]" in said and "are up" not in said


def test_the_time_left_knows_what_runs_took():
    runs = [ArmRun("a", 0), ArmRun("b", 0)]
    left = TimeLeft(dict.fromkeys(runs, 2.0))
    assert left.expected(runs[1]) == 120
    left.subtract(runs[0], 30)
    assert left.expected(runs[1]) == 30


def test_no_run_of_a_block_names_its_test_prompts(blocked, tmp_path):
    path, test = blocked(), tmp_path / "test.jsonl"
    other = f"{test.parent}/outcomes/../test.jsonl"
    for key, value in [
        ("data.train", test), ("data.eval", test), ("evaluate.prompts", test), ("data.eval", other),
        ("data.train", f"{{{test}: 0.5, else.jsonl: 0.5}}"),
    ]:  # fmt: skip
        plan = load_plan(path, [f"arms.fast.{key}={value}"])
        with pytest.raises(UserError, match=f"arm fast: {key} names the test prompts"):
            arm_recipe(plan, path.parent, ArmRun("fast", 0))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["outcomes=null"], "set outcomes"),
        (["blocks.B.start=slow"], "which is in a block itself"),
        (["arms.fast.block=C"], "'C'"),
        (["blocks.B.temperature=0"], "greedy samples are the same"),
        (["blocks.C.start=x"], "blocks.C.start: the plan has no such name in blocks; known: B"),
        (["questions=[{title: q, of: first, to: fast, margin: 1, pool: [fast]}]"], "not about arms of one"),
        (["questions=[{title: q, of: slow, to: fats, margin: 1, pool: [fast]}]"], "'fats'.*'fast'"),
        (["questions=[{title: q, of: slow, to: fast, margin: 0, pool: [fast]}]"], "margin"),
        (["questions=[{title: q, of: slow, to: fast, margin: 1}]"], "has a pool of arms or is paired"),
        (
            ["questions=[{title: q, of: slow, to: fast, margin: 1, paired: true}]"],
            "have other seeds",
        ),
        (
            ["questions=[{title: q, of: start, to: fast, margin: 1, paired: true}]"],
            "has no seeds",
        ),
    ],
)
def test_wrong_blocks_are_one_sentence(blocked, overrides, says):
    with pytest.raises(UserError, match=says):
        load_plan(blocked(), overrides)


@pytest.mark.parametrize("name", ["../x", "start", "a/b", "", ".x"])
def test_names_of_arms_and_blocks_are_names_of_folders(blocked, raw, name):
    raw["arms"][name] = raw["arms"]["first"]
    with pytest.raises(UserError, match="one of a folder"):
        load_plan(blocked())


def test_a_block_may_start_from_a_model_by_name(blocked, tiny_base):
    path = blocked()
    plan = load_plan(path, [f"blocks.B.start={tiny_base / 'model'}"])
    assert start_run(plan, ArmRun("fast", 0)) is None
    assert arm_recipe(plan, path.parent, ArmRun("fast", 0)).model.name == str(tiny_base / "model")
    assert start_run(load_plan(path), ArmRun("slow", 1)) == ArmRun("first", 0)


def test_a_rehearsal_measures_blocks_too(blocked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path, console = blocked(), Console(file=io.StringIO(), width=200, soft_wrap=True)
    asked = "questions=[{title: q, of: start, to: fast, margin: 0.5, pool: [fast]}]"
    overrides = [asked, "protocol=later.md"]
    failed = run_study(None, path, tmp_path / "study", ["fast"], False, console, overrides, True).failed
    said = console.file.getvalue()
    assert failed == 0 and "[2/2] fast: passed" in said
    assert not (tmp_path / "outcomes").exists()


def test_prompts_are_cut_at_the_limit(blocked, tmp_path):
    block = load_plan(blocked()).blocks["B"]
    assert len(read_test_prompts(block)) == 4
    assert len(read_test_prompts(block.model_copy(update={"limit": None}))) == 5
    assert isinstance(block, Block) and read_header is not None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"deviations": [{"date": 5, "text": "x"}]}, "a date is written as 2026-11-28"),
        ({"deviations": [{"date": "2026-11-28", "text": ""}]}, r"deviations.0.text is ''"),
        ({"outcomes": "outcomes"}, "name a folder in one, such as docs/mine/outcomes"),
    ],
)
def test_what_stands_around_a_plan_is_checked(changes, says):
    with pytest.raises(UserError, match=says):
        StudyPlan.parse({"title": "t", "groups": {}, "arms": {}} | changes)
