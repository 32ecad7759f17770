"""Two processes are one: the same losses, weights, samples and rewards, and a clean end when one dies."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file

from boresight.config.lora import LoraConfig
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.models.lora import adapters_off, attach
from boresight.models.reference.cache import cached_reference
from boresight.models.reference.distinct import row_key
from boresight.models.sharding import shard, whole
from boresight.runs.train import run_training
from boresight.training import policy
from boresight.training.checkpoints import checkpoint
from boresight.training.checkpoints.sharded import can_write_parts
from boresight.training.distributed import collectives, replicas
from boresight.training.forward import kind_of
from boresight.training.loop import run_steps
from boresight.training.rollouts.replay import Replay
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fixtures import make_task, random_rows
from tests.training.pair import Died, Pair, free_port
from tests.training.test_loop import LM_METHODS
from tests.training.test_rollout import rollouts

NEEDS_PARTS = pytest.mark.skipif(not can_write_parts(), reason="needs torch 2.9")
FSDP = pytest.param("fsdp", marks=NEEDS_PARTS)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    both = Pair(str(tmp_path_factory.mktemp("pair-cache")))
    yield both
    both.close()


# ------------------------------------------------------------------------------------ dealing out work


@given(st.integers(1, 5), st.integers(0, 23), st.randoms(use_true_random=False))
def test_shares_are_a_partition_and_balance_tokens(world, count, random):
    """Every row belongs to one process; no two differ by more than the longest row in tokens."""
    rows = random_rows(count, 2, seed=random.randrange(99))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collectives, "world", lambda: world)
        shares = [collectives.share(rows, number) for number in range(world)]
    assert sorted(row.id for part in shares for row in part) == sorted(row.id for row in rows)
    tokens = [sum(row.tokens for row in part) for part in shares]
    assert max(tokens) - min(tokens) <= max((row.tokens for row in rows), default=0)


def exchange():
    """Everything that travels between processes, once."""
    number = collectives.rank()
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    if number == 0:
        parameters[0].grad = torch.tensor([1.0, 2.0])
    else:
        parameters[0].grad = torch.tensor([10.0, 20.0])
        parameters[1].grad = torch.tensor([0.5, math.inf])
    replicas.sum_gradients(parameters)
    squares = collectives.in_shares(5, lambda mine: [[i * i, math.nan] for i in mine])
    one = collectives.in_shares(1, lambda mine: [f"by {collectives.rank()}" for _ in mine])
    return {
        "grads": [None if p.grad is None else p.grad.tolist() for p in parameters],
        "squares": [square for square, _ in squares],
        "one": one,
        "first": collectives.from_first(f"from {number}"),
        "anyone": (collectives.any_process(number == 1), collectives.any_process(False)),
        "tensors": [t["x"].tolist() for t in collectives.gather_tensors({"x": torch.arange(number + 1)})],
    }


def test_what_travels_arrives(pair):
    """A parameter that only one process has a gradient for gets it in both; one that none has keeps None."""
    for told in pair.run(exchange):
        assert told == {
            "grads": [[11.0, 22.0], [0.5, math.inf], None],
            "squares": [0, 1, 4, 9, 16],
            "one": ["by 0"],
            "first": "from 0",
            "anyone": (True, False),
            "tensors": [[0], [0, 1]],
        }


# -------------------------------------------------------------------------------------- the same update


def trained(folder, method, settings, *, lora=False, spread=False, resume=None):
    """Train a task in every process of the run; weights and what the first process logged."""
    first = collectives.is_first()
    policy = tiny_model(dtype=torch.float64)
    if lora:
        policy = attach(policy, LoraConfig(r=2, dropout=0.0), seed=0)
    task = make_task(folder if first else folder / "other", method, *settings, rows=7, policy=policy)
    task.run = folder
    if not first:
        task.tracker = collectives.Silent()
    if spread:
        shard(policy)
    run_steps(task, resume)
    with whole(policy):
        weights = {name: p.detach().clone().numpy() for name, p in policy.named_parameters()}
    return weights, logged(folder) if first else []


def logged(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "tokens_per_second", "peak_memory_gb"}
    return [{name: value for name, value in line.items() if name not in clock} for line in lines]


def assert_same_lines(ours, theirs, tolerance=1e-5):
    """Logs agree to 1e-5, the precision they are written with; runs in float32 are given more."""
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            same = value if isinstance(value, str) else pytest.approx(value, rel=tolerance, abs=tolerance)
            assert other[name] == same, (one["step"], name)


RAGGED = ("train.batch=5", "train.steps=4", "train.tokens_per_forward=40", "train.eval_every=2")
"""Five rows a step of seven: shares of three and two, unequal micro-batches, epochs that end inside steps."""


def cases(names, quick):
    """Each name with whole weights and with LoRA; those that are not quick in the slow suite."""
    return [
        pytest.param(
            name, lora, id=f"{name} {kind}", marks=[] if f"{name} {kind}" in quick else pytest.mark.slow
        )
        for name in names
        for kind, lora in (("full", False), ("lora", True))
    ]


QUICK = ["dpo full", "dpo lora", "rloo full", "sft lora", "xpo full"]


@pytest.mark.parametrize(("method", "lora"), cases(LM_METHODS, QUICK))
def test_two_processes_log_and_learn_what_one_does(tmp_path, pair, method, lora):
    """Losses, metrics and gradient norms to 1e-5; weights to 1e-9 in float64, where only order rounds."""
    alone, lines = trained(tmp_path / "one", method, RAGGED, lora=lora)
    (first, ours), (second, _) = pair.run(trained_with, tmp_path / "two", method, RAGGED, lora)
    assert_same_lines(lines, ours)
    for name, weight in alone.items():
        assert np.array_equal(first[name], second[name]), name
        np.testing.assert_allclose(first[name], weight, rtol=0, atol=1e-9, err_msg=name)


def trained_with(folder, method, settings, lora, spread=False, resume=None):
    return trained(folder, method, settings, lora=lora, spread=spread, resume=resume)


def test_fewer_rows_than_processes(tmp_path, pair):
    """A batch of one leaves the second process without a row; the update is still the same."""
    settings = ("train.batch=1", "train.steps=3")
    alone, lines = trained(tmp_path / "one", "dpo", settings)
    (first, ours), _ = pair.run(trained_with, tmp_path / "two", "dpo", settings, False)
    assert_same_lines(lines, ours)
    for name, weight in alone.items():
        np.testing.assert_allclose(first[name], weight, rtol=0, atol=1e-9, err_msg=name)


def unlike_weights(folder):
    policy = tiny_model(seed=collectives.rank())
    run_steps(make_task(folder / str(collectives.rank()), "sft", "train.steps=1", policy=policy))


def test_unlike_weights_are_refused_in_one_sentence(tmp_path, pair):
    """Both processes find out; one of them says so and the other leaves without a word."""
    told = pair.end(unlike_weights, tmp_path)
    assert sorted(failed.error for failed in told) == ["SystemExit", "UserError"]
    (said,) = [failed.message for failed in told if failed.error == "UserError"]
    assert said.startswith("process 1 holds other weights than process 0 at the start; ")


def dropout_masks():
    replicas.reseed(0, step=3)
    return torch.rand(4).tolist()


def test_processes_drop_out_differently_and_repeatably(pair):
    first, second = pair.run(dropout_masks)
    assert first != second
    assert pair.run(dropout_masks) == [first, second]


# ------------------------------------------------------------------------- samples, rewards, references


def rolled_out():
    from boresight.training.rollouts.rollout import GroupRollouts

    batch = GroupRollouts(rollouts(tiny_model(), prompts=5), k=3).batch(1)
    drawn = [[(c.ids.tolist(), c.sampled_logp, c.truncated) for c in row.completions] for row in batch.rows]
    return [row.id for row in batch.rows], drawn, [row.scores for row in batch.rows], batch.numbers


def test_rollouts_do_not_depend_on_the_number_of_processes(pair):
    """Five prompts over two processes: the same prompts, tokens, rewards and means as in one."""
    ids, drawn, scores, numbers = rolled_out()
    for told in pair.run(rolled_out):
        assert told[0] == ids and told[2] == scores
        for ours, theirs in zip(drawn, told[1], strict=True):
            for (tokens, logp, cut), (other, other_logp, other_cut) in zip(ours, theirs, strict=True):
                assert tokens == other and cut == other_cut
                assert other_logp == pytest.approx(logp, abs=1e-4)
        assert told[3] == pytest.approx(numbers)


def rolled_out_pairs():
    from boresight.training.rollouts.rollout import PairRollouts
    from boresight.training.rollouts.sampling import policy_sampler
    from tests.training.test_rollout import SETTINGS, visibly_adapted

    torch.manual_seed(0)
    policy = visibly_adapted()
    sampler = policy_sampler(policy, SETTINGS, (0,), seed=0)

    def reference_sampler(prompts, k, number):
        with adapters_off(policy):
            return sampler(prompts, k, number)

    batch = PairRollouts(rollouts(policy, prompts=7), reference_sampler).batch(0)
    answers = [[c.ids.tolist() for c in row.completions] for row in batch.rows]
    return [row.id for row in batch.rows], answers, [row.from_reference for row in batch.rows], batch.numbers


def test_sampled_pairs_do_not_depend_on_the_number_of_processes(pair):
    *alone, numbers = rolled_out_pairs()
    for *told, other_numbers in pair.run(rolled_out_pairs):
        assert told == alone
        assert other_numbers == pytest.approx(numbers)


def shared_reference(folder):
    from boresight.training.build import _of_all

    done = []
    own = cached_reference(
        tiny_model(), collectives.share(random_rows(9, 2)), 40, done.append, folder=Path(folder)
    )
    return len(own.table), sum(done), {key: sums.tolist() for key, sums in _of_all(own).table.items()}


def test_each_process_fills_its_share_of_the_reference_cache(tmp_path, pair):
    """Nine rows: five and four computed, all nine known to both, and one file that holds all of them."""
    rows = random_rows(9, 2)
    told = pair.run(shared_reference, tmp_path / "shared")
    assert [(own, done) for own, done, _ in told] == [(5, 5), (4, 4)]
    alone = cached_reference(tiny_model(), rows, 40, folder=tmp_path / "alone").table
    assert set(alone) == set(map(row_key, rows))
    for _, _, table in told:
        assert set(table) == set(alone)
        for key, sums in alone.items():
            assert table[key] == pytest.approx(sums.tolist(), abs=1e-5)
    (_,) = (tmp_path / "shared").glob("*.sqlite")
    computed = []
    again = cached_reference(tiny_model(), rows, 40, computed.append, folder=tmp_path / "shared")
    assert computed == [9] and len(again.table) == 9  # one read, no forward


# ------------------------------------------------------------------------------------- weights in parts


@pytest.mark.parametrize(("method", "lora"), cases(["dpo", "kto", "rloo"], ["dpo full", "rloo lora"]))
def test_spread_weights_learn_what_whole_ones_do(tmp_path, pair, method, lora):
    """FSDP: each process holds half of every weight, and runs idle micro-batches where the other has more."""
    alone, lines = trained(tmp_path / "one", method, RAGGED, lora=lora)
    (first, ours), (second, _) = pair.run(trained_with, tmp_path / "two", method, RAGGED, lora, True)
    assert_same_lines(lines, ours)
    for name, weight in alone.items():
        assert np.array_equal(first[name], second[name]), name
        np.testing.assert_allclose(first[name], weight, rtol=0, atol=1e-9, err_msg=name)
    saved, expected = (
        load_file(next((tmp_path / run / "model").glob("*.safetensors"))) for run in ("two", "one")
    )
    assert saved.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(saved[name], weight, rtol=0, atol=1e-9)


@NEEDS_PARTS
@pytest.mark.slow
def test_spread_checkpoints_keep_earlier_pairs(tmp_path, pair):
    """One file beside the weights in parts, with a hash of its own, which every process reads."""
    (first, sound), (second, _) = pair.run(replayed_from_shards, tmp_path / "run")
    assert first == second == [row.id for row in random_rows(5, 2)]
    assert sound == "step-2"
    (tmp_path / "run/checkpoints/step-2/replay.safetensors").write_bytes(b"")
    assert checkpoint.latest_sound(tmp_path / "run").name == "step-1"


def replayed_from_shards(folder):
    settings = ("train.batch=3", "train.steps=2", "train.save_every=1", "train.guard=null")
    ids = []
    for resume in (None, folder / "checkpoints" / "step-2"):
        run = folder if collectives.is_first() else folder / "other"
        task = make_task(run, "xpo", *settings, rows=7, policy=tiny_model())
        task.run, task.replay = folder, Replay(1.0, seed=0)
        task.tracker = task.tracker if collectives.is_first() else collectives.Silent()
        if resume is None:
            task.replay.add(0, random_rows(5, 2))
        shard(task.policy)
        run_steps(task, resume)
        ids = [row.id for row in task.replay.rows]
        collectives.wait()
    return ids, checkpoint.latest_sound(folder).name


ARRANGEMENTS = [
    "spread to spread",
    "spread to whole",
    "spread to alone",
    "whole to spread",
    "alone to spread",
]


@NEEDS_PARTS
@pytest.mark.parametrize(
    ("arrangements", "lora"), cases(ARRANGEMENTS, ["spread to alone full", "alone to spread lora"])
)
def test_a_checkpoint_loads_however_the_weights_are_held(tmp_path, pair, arrangements, lora):
    """Two of four steps in one arrangement, the rest in another: the weights of four steps in one process."""

    before, after = arrangements.split(" to ")

    def go(folder, arrangement, steps, resume=None):
        settings = (*RAGGED[:1], f"train.steps={steps}", *RAGGED[2:], "train.save_every=2")
        settings += ("optim.schedule=constant",)
        if arrangement == "alone":
            return trained(folder, "dpo", settings, lora=lora, resume=resume)
        return pair.run(trained_with, folder, "dpo", settings, lora, arrangement == "spread", resume)[0]

    expected, lines = go(tmp_path / "straight", "alone", 4)
    go(tmp_path / "begun", before, 2)
    found = checkpoint.latest_sound(tmp_path / "begun")
    assert found is not None and found.name == "step-2"
    assert (found / "weights").is_dir() == (before == "spread")
    weights, ended = go(tmp_path / "ended", after, 4, found)
    assert_same_lines([line for line in lines if line["step"] > 2], ended)
    for name, weight in expected.items():
        np.testing.assert_allclose(weights[name], weight, rtol=0, atol=1e-9, err_msg=name)


# ----------------------------------------------------------------------------- whole runs, and their ends


def recipe_of(folder, **sections):
    """A preference recipe on a tiny model, saved every second of six steps."""
    tiny_model().save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    answers = ["the answer", "a test of some words", "red green blue", "and the rest"]
    rows = [
        {"prompt": f"say {i}", "chosen": answers[i % 4], "rejected": answers[(i + 1) % 4]} for i in range(24)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = {
        "method": {"name": "dpo"},
        "model": {"name": str(folder / "base"), "lora": {"r": 2, "dropout": 0.0}},
        "data": {"train": str(folder / "rows.jsonl"), "eval_rows": 4},
        "optim": {"lr": 0.01},
        "train": {"batch": 5, "steps": 6, "save_every": 2, "tokens_per_forward": 90},
        "evaluate": {"samples": 3, "max_new_tokens": 3},
    }
    for section, values in sections.items():
        raw[section] = raw.get(section, {}) | values
    return yaml.safe_dump(raw)


def run_recipe(text, folder, resume=False):
    run_training(Recipe.parse(yaml.safe_load(text)), folder, Console(quiet=True), resume=resume)
    return collectives.rank()


def run_and_count(text, folder):
    """As `run_recipe`; how often this process read the data file and rendered each of the rows."""
    from boresight.data import tokenize
    from boresight.data.reading import files

    read, rendered = [], []
    with pytest.MonkeyPatch.context() as patch:
        raw_rows, render = files.raw_rows, tokenize.render_example
        patch.setattr(files, "raw_rows", lambda *a: read.append(1) or raw_rows(*a))
        patch.setattr(tokenize, "render_example", lambda *a: rendered.append(a[1].id) or render(*a))
        run_recipe(text, folder)
    return len(read), len(rendered), len(set(rendered))


def run_and_die(text, folder, number, step):
    """As `run_recipe`, but process `number` is killed when it asks for the rows of `step`."""
    from boresight.training.build import OfflineBatches

    ask = OfflineBatches.batch

    def batch(self, at):
        if at == step and collectives.rank() == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return ask(self, at)

    OfflineBatches.batch = batch
    try:
        return run_recipe(text, folder)
    finally:
        OfflineBatches.batch = ask


def assert_same_run(one, two):
    assert_same_lines(logged(one), logged(two), tolerance=1e-4)
    assert (one / "samples.jsonl").read_text() == (two / "samples.jsonl").read_text()
    ours, theirs = (json.loads((folder / "evaluation.json").read_text())["metrics"] for folder in (one, two))
    assert [metric["name"] for metric in ours] == [metric["name"] for metric in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert other["after"] == pytest.approx(mine["after"], rel=1e-4, abs=1e-4), mine["name"]


@pytest.mark.parametrize("parallel", ["ddp", FSDP])
def test_a_run_of_two_processes_leaves_the_folder_of_one(tmp_path, pair, parallel):
    """Metrics, samples and evaluation as in one process, one report, and nothing of the second process."""
    text = recipe_of(tmp_path, train={"parallel": parallel})
    run_recipe(text, tmp_path / "one")
    assert pair.run(run_recipe, text, tmp_path / "two") == [0, 1]
    assert_same_run(tmp_path / "one", tmp_path / "two")
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {path.name for path in (tmp_path / "one").iterdir()}
    assert json.loads((tmp_path / "two/environment.json").read_text())["processes"] == 2


@pytest.mark.parametrize("parallel", ["ddp", FSDP])
@pytest.mark.parametrize("lost", [("samples.jsonl",), ("samples.jsonl", "end.json", "start.json")])
def test_two_processes_go_on_with_what_is_missing_of_a_trained_run(tmp_path, pair, parallel, lost):
    """Weights go into the parts of a spread model, and both models are measured as before."""
    text = recipe_of(tmp_path, train={"parallel": parallel, "save_every": None})
    pair.run(run_recipe, text, tmp_path / "run")
    before = {name: (tmp_path / "run" / name).read_text() for name in ("evaluation.json", "samples.jsonl")}
    for name in ("evaluation.json", "report.html", *lost):
        (tmp_path / "run" / name).unlink()
    assert pair.run(run_recipe, text, tmp_path / "run") == [0, 1]
    assert {name: (tmp_path / "run" / name).read_text() for name in before} == before
    assert (tmp_path / "run/report.html").is_file()


@pytest.mark.slow
def test_two_processes_choose_the_learning_rate_of_one(tmp_path, pair):
    text = recipe_of(tmp_path, optim={"lr": "auto"}, data={"eval_rows": 0})
    run_recipe(text, tmp_path / "one")
    assert pair.run(run_recipe, text, tmp_path / "two") == [0, 1]
    rates = [Recipe.load(tmp_path / name / "config.yaml").optim.lr for name in ("one", "two")]
    assert rates[0] == rates[1] != "auto"


def test_each_process_reads_and_tokenizes_once(tmp_path, pair):
    """The first one writes the token rows of the pairs that are trained on, and the other maps them."""
    text = recipe_of(tmp_path, train={"steps": 1})
    assert pair.run(run_and_count, text, tmp_path / "run") == [(1, 20, 20), (1, 0, 0)]


@pytest.mark.slow
def test_a_reward_model_is_trained_by_two_processes_as_by_one(tmp_path, pair):
    text = recipe_of(tmp_path, method={"name": "reward"})
    run_recipe(text, tmp_path / "one")
    pair.run(run_recipe, text, tmp_path / "two")
    assert_same_lines(logged(tmp_path / "one"), logged(tmp_path / "two"))
    told = pair.end(
        run_recipe,
        recipe_of(tmp_path, method={"name": "reward"}, train={"parallel": "fsdp"}),
        tmp_path / "no",
    )
    said = [failed.message for failed in told if failed.error == "UserError"]
    assert said == ["train.parallel: fsdp cannot train a reward model; set train.parallel=ddp."]
    assert not (tmp_path / "no").exists()


def test_weights_are_not_sharded_where_their_parts_could_not_be_written(tmp_path, monkeypatch):
    """Found at the first checkpoint otherwise."""
    monkeypatch.setattr(collectives, "world", lambda: 2)
    monkeypatch.setattr(policy, "can_write_parts", lambda: False)
    raw = (yaml.safe_load(recipe_of(tmp_path, train={"parallel": name})) for name in ("fsdp", "auto"))
    by_name, auto = ((recipe, kind_of(recipe), tiny_model()) for recipe in map(Recipe.parse, raw))
    with pytest.raises(UserError, match=r"^train\.parallel: fsdp needs torch 2\.9 or newer, .*=ddp\.$"):
        policy.wants_shards(*by_name)
    assert not policy.wants_shards(*auto)


def recipe_of_rollouts(folder, **settings):
    """RLOO on prompts, rewarded for length, all weights trained against a KL to the start model."""
    raw = yaml.safe_load(recipe_of(folder))
    prompts = [{"prompt": f"say {i}"} for i in range(12)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    raw |= {
        "method": {"name": "rloo", "beta": 0.1},
        "model": {"name": str(folder / "base")},
        "data": {"train": str(folder / "prompts.jsonl"), "eval_rows": 2},
        "optim": {"lr": 1e-3},
        "reward": [{"function": "tests.training.test_rollout:longer_is_better"}],
        "rollout": {"k": 3, "max_new_tokens": 6},
        "train": {"batch": 3, "steps": 3} | settings,
    }
    return yaml.safe_dump(raw)


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=[NEEDS_PARTS, pytest.mark.slow])])
def test_a_run_that_samples_leaves_the_same_folder(tmp_path, pair, parallel):
    """Three prompts a step over two processes, sampled, rewarded and learned from as in one."""
    text = recipe_of_rollouts(tmp_path, parallel=parallel)
    run_recipe(text, tmp_path / "one")
    pair.run(run_recipe, text, tmp_path / "two")
    assert_same_run(tmp_path / "one", tmp_path / "two")
    assert any(line.get("reward") for line in logged(tmp_path / "two"))


def test_an_error_that_all_meet_is_said_once(tmp_path, pair):
    """The folder is used: the first process says so and the second, which waits for it, leaves quietly."""
    text = recipe_of(tmp_path)
    (tmp_path / "used").mkdir()
    (tmp_path / "used/config.yaml").write_text("")
    told = pair.end(run_recipe, text, tmp_path / "used")
    assert sorted(failed.error for failed in told) == ["SystemExit", "UserError"]
    assert "config.yaml: holds no recipe" in next(
        failed.message for failed in told if failed.error == "UserError"
    )


@pytest.mark.parametrize("number", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_run_with_one_sentence_and_a_good_checkpoint(tmp_path, pair, number):
    """Killed before step 6 of 6; one process goes on with what is left, to the end of an unkilled run."""
    text = recipe_of(tmp_path)
    run_recipe(text, tmp_path / "whole")
    told = pair.end(run_and_die, text, tmp_path / "cut", number, 5)
    assert told[number] == Died(), told
    left = told[1 - number]
    assert left.error == "Interrupted"
    assert left.message.startswith("another process of this run has died; ")
    assert left.message.endswith("checkpoints/step-4 is complete: resume with --resume.")
    assert not list((tmp_path / "cut/checkpoints").glob(".*"))
    run_recipe(text, tmp_path / "cut")
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


# ------------------------------------------------------------------------- the command line, by torchrun


def test_torchrun_lets_our_options_through():
    """It looks for its own options behind our verb as well, and finds one in `--run`."""
    from torch.distributed.run import parse_args

    ours = ["boresight", "train", "recipe.yaml", "optim.lr=1e-6", "--run-folder", "runs/mine", "--resume"]
    assert parse_args(["-m", *ours]).training_script_args == ours[1:]
    with pytest.raises(SystemExit):
        parse_args(["-m", *ours[:-3], "--run", "runs/mine"])


def torchrun(folder, *arguments):
    """`torchrun --nproc-per-node 2 -m boresight train` in `folder`, under way."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]
    return subprocess.Popen(
        [*command, str(free_port()), "-m", "boresight", "train", "recipe.yaml", *arguments],
        cwd=folder,
        env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers(launcher):
    """Process ids of the two."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(launcher.pid)], capture_output=True, text=True, check=True
    )
    return [int(line) for line in listed.stdout.split()]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", FSDP])
def test_torchrun_kill_and_go_on_is_the_unkilled_run(tmp_path, pair, parallel):
    """SIGKILL as soon as a checkpoint lies there; two processes go on, to the digits of an unkilled run."""
    text = recipe_of(tmp_path, train={"parallel": parallel, "steps": 60})
    (tmp_path / "recipe.yaml").write_text(text)
    killed = torchrun(tmp_path, "--run-folder", "cut")
    while not list(tmp_path.glob("cut/checkpoints/step-*")) and killed.poll() is None:
        os.sched_yield()
    os.kill(workers(killed)[-1], signal.SIGKILL)
    told, _ = killed.communicate(timeout=120)
    assert killed.returncode != 0
    assert told.count("boresight: another process of this run has died; cut/checkpoints/step-") == 1
    assert not (tmp_path / "cut/evaluation.json").exists()
    resumed = torchrun(tmp_path, "--run-folder", "cut")
    told, _ = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, told
    pair.run(run_recipe, text, tmp_path / "whole")
    assert logged(tmp_path / "whole") == logged(tmp_path / "cut")
    for name in ("evaluation.json", "samples.jsonl"):
        assert (tmp_path / "whole" / name).read_text() == (tmp_path / "cut" / name).read_text()


@pytest.mark.slow
def test_torchrun_hands_on_a_signal_and_the_run_stops_at_a_checkpoint(tmp_path):
    (tmp_path / "recipe.yaml").write_text(recipe_of(tmp_path, train={"steps": 5000}))
    running = torchrun(tmp_path, "--run-folder", "cut")
    while not list(tmp_path.glob("cut/checkpoints/step-*")) and running.poll() is None:
        os.sched_yield()
    running.terminate()
    told, _ = running.communicate(timeout=120)
    assert told.count("run the same command with --run-folder cut to resume") == 1
    last = checkpoint.latest_sound(tmp_path / "cut")
    assert last is not None and f"boresight: stopped after {last.name.replace('-', ' ')} of 5000;" in told
