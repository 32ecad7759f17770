"""Pairs of earlier steps: which are kept and drawn, what a step learns from them, and that a resumed run
draws the same."""

import json

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.data.rows import Completion, Row
from boresight.methods import get
from boresight.models.packed.logprobs import completion_logprobs
from boresight.runs.train import run_training
from boresight.training import loop
from boresight.training.build import _batches
from boresight.training.forward import INPUT_KINDS
from boresight.training.loop import accumulate
from boresight.training.rollouts.replay import Replay
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fixtures import make_task
from tests.training.test_resume import cut_short, train_lines
from tests.training.test_rollout import _recipe, rollouts, visibly_adapted


def pair(number, first=7):
    """A pair whose answers are its number, one of them from the reference."""
    ids = [np.array([first, number, n], np.int32) for n in (1, 2)]
    answers = tuple(Completion(i, np.array([False, True, True]), sampled_logp=-1.5) for i in ids)
    prompt, even = np.array([3, number], np.int32), number % 2 == 0
    return Row(f"é{number}", prompt, answers, scores=(1.0, 0.25), from_reference=(even, not even))


def numbers(rows):
    return [int(row.prompt[1]) for row in rows]


def test_earlier_pairs_by_hand():
    """Two pairs a step for each of two prompts: none at first, then all there are, then two of four."""
    kept = Replay(1.0, seed=0)
    assert kept.draw(0, 2) == []
    kept.add(0, [pair(0)])
    assert numbers(kept.draw(1, 2)) == [0]
    kept.add(1, [pair(1), pair(2), pair(3)])
    drawn = numbers(kept.draw(2, 2))
    assert len(set(drawn)) == 2 and set(drawn) <= {0, 1, 2, 3}
    assert drawn == numbers(kept.draw(2, 2))


@pytest.mark.parametrize(("per_prompt", "count"), [(0.25, 2), (0.5, 4), (1.0, 8), (2.0, 16)])
def test_their_number_follows_the_prompts_and_not_the_pairs_that_tied(per_prompt, count):
    kept = Replay(per_prompt, seed=0)
    kept.add(0, [pair(n) for n in range(40)])
    assert len(kept.draw(1, 8)) == count


def test_steps_draw_different_pairs_and_every_pair_in_the_end():
    kept = Replay(1.0, seed=0)
    kept.add(0, [pair(n) for n in range(20)])
    draws = [tuple(numbers(kept.draw(step, 4))) for step in range(60)]
    assert len(set(draws)) > 50 and {n for draw in draws for n in draw} == set(range(20))


def test_of_more_pairs_than_are_kept_each_is_as_likely():
    """4 of 40, for 400 seeds: each is kept 40 times on average, with a standard deviation of 6."""
    counts = np.zeros(40)
    for seed in range(400):
        kept = Replay(1.0, seed, most=4)
        for step in range(20):
            kept.add(step, [pair(2 * step), pair(2 * step + 1)])
        assert len(kept.rows) == 4 and kept.seen == 40
        counts[numbers(kept.rows)] += 1
    assert counts.sum() == 1600 and counts.min() > 40 - 4 * 6 and counts.max() < 40 + 4 * 6


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_checkpoint_gives_back_what_was_kept(count):
    kept, again = Replay(1.0, 0, most=3), Replay(1.0, 0, most=3)
    kept.add(0, [pair(n) for n in range(count)])
    again.restore(kept.tensors())
    for one, other in zip(kept.rows, again.rows, strict=True):
        assert (one.id, one.scores, one.from_reference) == (other.id, other.scores, other.from_reference)
        assert np.array_equal(one.prompt, other.prompt) and one.prompt.dtype == other.prompt.dtype
        for a, b in zip(one.completions, other.completions, strict=True):
            assert np.array_equal(a.ids, b.ids) and np.array_equal(a.mask, b.mask)
            assert (a.ids.dtype, a.mask.dtype) == (b.ids.dtype, b.mask.dtype)
    for step in range(1, 6):  # and goes on the same
        kept.add(step, [pair(90 + step)])
        again.add(step, [pair(90 + step)])
        assert numbers(kept.rows) == numbers(again.rows)
        assert numbers(kept.draw(step, 2)) == numbers(again.draw(step, 2))
    assert kept.seen == again.seen == count + 5


def sampled(policy, **settings):
    kind = INPUT_KINDS[get("xpo").Input]
    return _batches(_recipe(**settings), kind, rollouts(policy, prompts=16), policy, (0,))


def test_a_step_has_its_own_pairs_and_earlier_ones_as_they_were_labeled():
    policy = visibly_adapted()
    plain, with_replay = sampled(policy), sampled(policy, replay=0.5)
    own = [plain.batch(step).rows for step in range(3)]
    seen = [with_replay.batch(step) for step in range(3)]
    assert seen[0].numbers["replayed"] == 0 and seen[1].numbers["replayed"] == 8
    assert [batch.numbers["kept_pairs"] for batch in seen] == [
        sum(map(len, own[: step + 1])) for step in range(3)
    ]
    known = {key(row) for rows in own[:2] for row in rows}
    for fresh, batch in zip(own, seen, strict=True):
        assert [key(row) for row in batch.rows[: len(fresh)]] == [key(row) for row in fresh]
    earlier = seen[2].rows[len(own[2]) :]
    assert len(earlier) == 8 and {key(row) for row in earlier} <= known
    assert "replayed" not in plain.batch(0).numbers


def key(row):
    answers = tuple(answer.ids.tobytes() for answer in row.completions)
    return row.id, answers, row.scores, row.from_reference


def test_both_terms_run_over_all_pairs_as_in_algorithm_1(tmp_path):
    """Two fresh pairs and three earlier ones: the mean of both terms over the five, worked with plain sums.

    L = mean of - log sigmoid(beta h) + alpha log pi(y_ref), y_ref being the reference's sample of each pair.
    """
    task = make_task(tmp_path, "xpo", "method.alpha=0.002", "train.batch=8", dtype=torch.float64)
    with torch.no_grad():
        for parameter in task.policy.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    rows = task.batches.rows[:5]
    kept = Replay(1.5, seed=0)
    kept.add(0, rows[2:])
    earlier = kept.draw(1, 2)
    assert {row.id for row in earlier} == {row.id for row in rows[2:]}
    found = accumulate(task, [*rows[:2], *earlier], step=1).summary()
    policy = completion_logprobs(task.policy, rows, layout="padded").sums.detach()
    h = (policy - task.reference(rows)) @ torch.tensor([1.0, -1.0], dtype=torch.float64)
    from_ref = policy[torch.tensor([row.from_reference for row in rows])]
    expected = (-torch.nn.functional.logsigmoid(0.1 * h) + 0.002 * from_ref).mean()
    assert found["loss"] == pytest.approx(float(expected), rel=1e-9)


def test_a_step_of_ties_learns_from_earlier_pairs():
    policy = visibly_adapted()
    batches = _batches(
        _recipe(replay=1.0), INPUT_KINDS[get("xpo").Input], rollouts(policy, "never_sure"), policy, (0,)
    )
    batches.replay.add(0, [pair(n) for n in range(3)])
    batch = batches.batch(1)
    assert batch.numbers["unscorable_share"] + batch.numbers["identical_share"] == 1
    assert numbers(batch.rows) == [0, 1, 2] and batch.numbers["kept_pairs"] == 3


# Whole runs -------------------------------------------------------------------------------------------


def longer_is_better(prompts, completions, rows):
    return [float(len(text) % 7) for text in completions]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setattr("boresight.core.files.cache_folder", lambda: tmp_path / "cache")
    tiny_model(max_position_embeddings=1024).save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    asked = [{"id": f"p{n}", "prompt": f"Say {n}."} for n in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    return {
        "method": {"name": "xpo", "replay": 1.0},
        "model": {"name": str(tmp_path / "base"), "device": "cpu", "lora": {"r": 2}},
        "data": {"train": str(tmp_path / "prompts.jsonl"), "eval_rows": 0},
        "optim": {"lr": 0.01},
        "reward": [{"function": f"{__name__}:longer_is_better"}],
        "rollout": {"max_new_tokens": 6},
        "train": {"batch": 4, "steps": 5, "save_every": 2},
        "evaluate": {"samples": 0, "rewarded": 0},
        "check": {
            "allow": ["reward-constant", "learning-rate-budget", "learning-rate-too-high"],
            "probes": 0,
        },
    }


def test_interrupted_and_resumed_replays_what_an_uninterrupted_run_does(tmp_path, recipe, monkeypatch):
    """To the bit: weights, and every logged number; and the earlier pairs are what makes the difference."""
    quiet = Console(quiet=True)
    parsed = Recipe.parse(recipe)
    run_training(parsed, tmp_path / "whole", quiet)
    cut_short(parsed, tmp_path / "cut", monkeypatch, before=3)
    kept = load_file(tmp_path / "cut" / "checkpoints" / "step-2" / "replay.safetensors")
    assert int(kept["seen"]) == len(kept["prompt_length"]) > 0
    run_training(parsed, tmp_path / "cut", quiet, resume=True)
    lines = train_lines(tmp_path / "whole")
    assert train_lines(tmp_path / "cut") == lines
    assert lines[0]["replayed"] == 0 and lines[-1]["replayed"] == 4
    weights = [load_file(tmp_path / run / "model" / "adapter_model.safetensors") for run in ("whole", "cut")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    without = Recipe.parse({**recipe, "method": {"name": "xpo"}})
    run_training(without, tmp_path / "without", quiet)
    assert not list((tmp_path / "without").rglob("replay.safetensors"))
    other = load_file(tmp_path / "without" / "model" / "adapter_model.safetensors")
    assert any(not torch.equal(value, other[name]) for name, value in weights[0].items())


def test_a_checkpoint_without_its_pairs_is_refused_in_a_sentence(tmp_path, recipe, monkeypatch):
    cut_short(Recipe.parse({**recipe, "method": {"name": "xpo"}}), tmp_path / "cut", monkeypatch, before=3)
    task = make_task(tmp_path / "new", "dpo")
    task.replay = Replay(1.0, 0)
    folder = tmp_path / "cut" / "checkpoints" / "step-2"
    monkeypatch.setattr(loop.checkpoint, "load_state", lambda *arguments: {"step": 2, "lr_sum": 0.0})
    with pytest.raises(UserError, match=r"step-2: it keeps no earlier pairs; set method\.replay=0"):
        loop.run_steps(task, folder)
