"""Sampled rows: where each answer comes from, who wins, and what makes no pair."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from boresight.config.lora import LoraConfig
from boresight.config.recipe import RolloutSection
from boresight.config.reward import RewardConfig, short_names
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.batching import plan
from boresight.methods import get
from boresight.methods.inputs import GroupLogps
from boresight.models.lora import adapters_off, attach
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.reference.frozen import LiveReference
from boresight.models.sampler.sample import Sample
from boresight.scorers.rewards import RewardSum
from boresight.training.build import _batches
from boresight.training.forward import INPUT_KINDS
from boresight.training.initial_loss import check_fresh, check_sampler
from boresight.training.loop import Batch, accumulate, run_steps
from boresight.training.metrics import row_metrics
from boresight.training.rollouts.rollout import (
    GroupRollouts,
    OnlinePrompt,
    PairRollouts,
    Rollouts,
    why_no_pair,
)
from boresight.training.rollouts.sampling import policy_sampler
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fixtures import make_task

SETTINGS = RolloutSection(k=3, max_new_tokens=6)


def longer_is_better(prompts, completions, rows):
    return [float(len(text)) for text in completions]


def never_sure(prompts, completions, rows):
    return [None] * len(completions)


def says_green(prompts, completions, rows):
    return [float("g" in text) for text in completions]


def rollouts(policy, reward="longer_is_better", prompts=4, settings=SETTINGS):
    asked = [OnlinePrompt(Prompt([], f"p{i}"), np.array([5, 6, 7 + i], np.int32)) for i in range(prompts)]
    return Rollouts(
        prompts=asked,
        plan=plan(prompts, prompts, epochs=None, steps=3, seed=0),
        sampler=policy_sampler(policy, settings, (0,), seed=0),
        rewards=RewardSum([RewardConfig(function=f"{__name__}:{reward}")]),
        tokenizer=tiny_tokenizer(),
    )


def test_groups_hold_k_scored_samples_with_their_log_probabilities():
    policy = tiny_model()
    batch = GroupRollouts(rollouts(policy), k=3).batch(0)
    assert [len(row.completions) for row in batch.rows] == [3] * 4
    ours = completion_logprobs(policy, batch.rows).sums.detach()
    drawn = torch.tensor([[c.sampled_logp for c in row.completions] for row in batch.rows])
    torch.testing.assert_close(ours, drawn, rtol=0, atol=1e-4)
    assert batch.numbers["reward"] == pytest.approx(np.mean([row.scores for row in batch.rows]))


def test_two_reward_functions_never_share_a_curve():
    """`score` of two modules keep these; a function called `failures` would be taken for their count."""
    assert short_names(["countdown", "mine:pay"]) == ["countdown", "pay"]
    assert short_names(["a:score", "b:score", "c:failures"]) == ["a:score", "b:score", "c:failures"]
    assert short_names(["countdown", "mine:countdown"]) == ["countdown", "mine:countdown"]


def test_on_policy_the_old_log_probabilities_cost_no_forward(monkeypatch):
    """One forward, the policy's own with gradients: what it sampled with is what it was at the time."""
    policy, calls = tiny_model(), []
    rows = GroupRollouts(rollouts(policy), k=3).batch(0).rows

    def counted(*args, **settings):
        calls.append(args)
        return completion_logprobs(*args, **settings)

    monkeypatch.setattr("boresight.training.forward.completion_logprobs", counted)
    x = INPUT_KINDS[get("rloo").Input].build(policy, None, rows, 1.0)
    assert len(calls) == 1
    assert torch.equal(x.old, x.policy.detach()) and torch.equal(x.ref, x.old)
    assert x.sampled.tolist() == [pytest.approx([c.sampled_logp for c in row.completions]) for row in rows]


def test_every_fresh_rollout_is_held_against_the_sampler():
    """Within 1e-4 nats per token: a hundredth of a nat for an answer of a hundred tokens or fewer."""
    at, length = torch.zeros(1, 2), torch.tensor([[20.0, 1000.0]])
    for gaps, fine in [((0.009, 0.09), True), ((0.011, 0.0), False), ((0.0, 0.11), False)]:
        policy = torch.tensor([gaps])
        x = GroupLogps(policy, at, at, at, length, torch.zeros(1, 2, dtype=torch.bool))
        assert "per token" in check_sampler(policy, at, length, noise=0.06)  # bfloat16 rounds coarsely
        if fine:
            said = check_sampler(policy, at, length, noise=0.0, step=7)
            assert said == "step 7: sampler and trainer agree to 9.0e-05 nats per token"
            check_fresh(row_metrics(x), completions=2, noise=0.0, step=7)
            continue
        with pytest.raises(UserError, match=r"step 7: sampler and trainer differ by 0\.00011 nats per token"):
            check_fresh(row_metrics(x), completions=2, noise=0.0, step=7)


@pytest.mark.parametrize(("updates", "stopped_at"), [(1, 1), (2, 2)])
def test_a_sampler_that_goes_astray_stops_the_run_at_its_next_rollout(tmp_path, updates, stopped_at):
    """From the second batch on the rows claim other log-probabilities than the policy has."""
    options = ("train.batch=4", "train.steps=4", f"rollout.updates={updates}")
    task = make_task(tmp_path, "rloo", *options)
    honest = task.batches.batch

    def astray(step):
        if step == 0:
            return honest(0)
        lies = [replace(c, sampled_logp=-1.0) for c in honest(0).rows[0].completions]
        return Batch([replace(honest(0).rows[0], completions=tuple(lies))])

    task.batches = SimpleNamespace(steps=4, batch=astray)
    with pytest.raises(UserError, match=f"step {stopped_at}: sampler and trainer differ"):
        run_steps(task)


def test_several_updates_use_one_rollout_and_steps_differ():
    groups = GroupRollouts(rollouts(tiny_model()), k=3, updates=2)
    assert groups.steps == 6
    first, again, next_one = (groups.batch(step) for step in (0, 1, 2))
    assert first is again
    assert [r.id for r in first.rows] != [r.id for r in next_one.rows] or any(
        not np.array_equal(a.completions[0].ids, b.completions[0].ids)
        for a, b in zip(first.rows, next_one.rows, strict=True)
    )


def visibly_adapted():
    """A policy whose adapters change nearly every token it says."""
    policy = attach(tiny_model(initializer_range=0.2), LoraConfig(r=4, dropout=0.0), seed=0)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 3.0)
    return policy


def test_the_reference_sample_comes_from_the_model_with_its_adapters_off():
    """Each sample must be likelier under the model that is said to have drawn it: checked for both."""
    policy = visibly_adapted()
    source = rollouts(policy, prompts=16)
    pairs = _batches(_recipe(), INPUT_KINDS[get("xpo").Input], source, policy, (0,)).batch(0)
    assert len(pairs.rows) > 8
    from_policy = completion_logprobs(policy, pairs.rows).sums.detach()
    with adapters_off(policy):
        from_ref = completion_logprobs(policy, pairs.rows).sums.detach()
    for row, mine, theirs in zip(pairs.rows, from_policy, from_ref, strict=True):
        for side, is_ref in enumerate(row.from_reference):
            expected = theirs[side] if is_ref else mine[side]
            assert row.completions[side].sampled_logp == pytest.approx(float(expected), abs=1e-3)
    assert (from_policy - from_ref).abs().mean() > 1.0  # the two models are visibly different
    assert all(sum(row.from_reference) == 1 for row in pairs.rows)
    assert all(row.scores[0] > row.scores[1] for row in pairs.rows)


def test_both_samples_of_online_dpo_come_from_the_policy():
    """Each has the log-probability that the adapted model gives it; rewards decide which stands first."""
    policy = visibly_adapted()
    recipe = _recipe("online_dpo")
    batches = _batches(
        recipe, INPUT_KINDS[get("online_dpo").Input], rollouts(policy, prompts=16), policy, (0,)
    )
    pairs = batches.batch(0)
    lost = sum(pairs.numbers[f"{why}_share"] for why in ("identical", "ties", "unscorable")) * 16
    assert len(pairs.rows) == 16 - round(lost) > 4
    sums = completion_logprobs(policy, pairs.rows).sums.detach()
    for row, values in zip(pairs.rows, sums, strict=True):
        assert row.from_reference == (False, False) and row.scores[0] > row.scores[1]
        for completion, value in zip(row.completions, values, strict=True):
            assert completion.sampled_logp == pytest.approx(float(value), abs=1e-3)
    assert "reference_reward" not in pairs.numbers and math.isfinite(pairs.numbers["reward"])


def test_with_a_second_sample_of_the_reference_online_dpo_draws_what_xpo_draws():
    policy = visibly_adapted()
    drawn = [
        _batches(recipe, INPUT_KINDS[get(name).Input], rollouts(policy, prompts=8), policy, (0,)).batch(1)
        for name, recipe in (
            ("xpo", _recipe()),
            ("online_dpo", _recipe("online_dpo", second_sample="reference")),
        )
    ]
    assert drawn[0].numbers == drawn[1].numbers and len(drawn[0].rows) > 2
    for one, other in zip(drawn[0].rows, drawn[1].rows, strict=True):
        assert one.from_reference == other.from_reference
        assert all(
            np.array_equal(a.ids, b.ids) for a, b in zip(one.completions, other.completions, strict=True)
        )


def always_formed(prompts, completions, rows):
    return [1.0] * len(completions)


def saying(*words):
    """A sampler that answers every prompt with these words."""
    tokenizer = tiny_tokenizer()
    ids = [np.array(tokenizer.encode(word, add_special_tokens=False), np.int32) for word in words]
    said = [Sample(0, one, np.zeros(len(one), np.float32), "stop") for one in ids]
    return lambda prompts, k, step: [said[:k] for _ in prompts]


def test_rewards_are_logged_over_the_policys_samples_alone():
    """The policy is always right and the reference always wrong; every answer has the right form."""
    functions = {"says_green": 1.0, "always_formed": 0.1}
    rewards = [RewardConfig(function=f"{__name__}:{name}", weight=w) for name, w in functions.items()]
    source = replace(rollouts(tiny_model()), sampler=saying("green", "red"), rewards=RewardSum(rewards))
    numbers = PairRollouts(source, reference_sampler=saying("red")).batch(0).numbers
    assert numbers["truncated"] == 1 - numbers["stopped_share"]
    assert (numbers["reward"], numbers["reference_reward"]) == pytest.approx((1.1, 0.1))
    assert (numbers["reward_says_green"], numbers["reward_always_formed"]) == (1.0, 1.0)
    assert numbers["verifier_calls"] == 8
    both = PairRollouts(source).batch(0).numbers  # both samples are the policy's
    assert both["reward_says_green"] == 0.5 and both["reward"] == pytest.approx(0.6)


def test_live_reference_is_the_policy_without_its_adapters():
    policy = visibly_adapted()
    rows = GroupRollouts(rollouts(policy), k=3).batch(0).rows
    expected = completion_logprobs(tiny_model(initializer_range=0.2), rows).sums.detach()
    reference = LiveReference(policy, 40)
    torch.testing.assert_close(reference(rows), expected, rtol=1e-5, atol=1e-4)
    tokens = reference.tokens(rows)
    assert tokens.shape == (len(rows), 3, max(c.scored for row in rows for c in row.completions))
    torch.testing.assert_close(tokens.sum(-1), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("mine", "other", "rewards", "reason"),
    [
        ([1, 2], [1, 2], (1.0, 0.0), "identical"),
        ([1, 2], [1, 3], (0.5, 0.5), "ties"),
        ([1, 2], [1, 3], (math.nan, 0.5), "unscorable"),
        ([1, 2], [1, 3], (0.0, 0.5), None),
    ],
)
def test_what_makes_no_pair(mine, other, rewards, reason):
    def drawn(ids):
        return Sample(0, np.array(ids, np.int32), np.zeros(len(ids), np.float32), "stop")

    assert why_no_pair(drawn(mine), drawn(other), *rewards) == reason


@pytest.mark.parametrize(
    ("reward", "counted"), [("never_sure", "unscorable_share"), ("says_green", "ties_share")]
)
def test_lost_pairs_are_counted(reward, counted):
    policy = visibly_adapted()
    batch = _batches(_recipe(), INPUT_KINDS[get("xpo").Input], rollouts(policy, reward), policy, (0,)).batch(
        0
    )
    lost = sum(batch.numbers[f"{name}_share"] for name in ("identical", "ties", "unscorable"))
    assert batch.numbers[counted] > 0
    assert len(batch.rows) == round(4 * (1 - lost))


def _recipe(method="xpo", **settings):
    from boresight.config.recipe import Recipe

    return Recipe.parse(
        {
            "method": {"name": method, **settings},
            "data": {"train": "none"},
            "optim": {"lr": 1e-4},
            "rollout": {"max_new_tokens": 6},
        }
    )


@pytest.mark.parametrize(("method", "at"), [("xpo", 1.0), ("xpo", 0.5), ("rloo", 0.5)])
def test_a_sampler_that_is_not_the_trainers_stops_at_step_0(tmp_path, method, at):
    """Planted fault: answers are drawn at a temperature of 0.5 and learnt from at 1."""
    policy = attach(tiny_model(initializer_range=0.2), LoraConfig(r=4, dropout=0.0), seed=0)
    task = make_task(tmp_path, method, policy=policy)
    settings = SETTINGS.model_copy(update={"temperature": at})
    source = rollouts(policy, prompts=16, settings=settings)
    recipe = _recipe().model_copy(update={"rollout": settings})
    task.batches = _batches(recipe, task.kind, source, policy, (0,))
    task.reference = LiveReference(policy, 10_000)
    said = []
    task.tracker.say = said.append
    rows = task.batches.batch(0).rows
    if at == 1.0:
        accumulate(task, rows, 0)
        assert "sampler and trainer agree" in said[0]
        return
    with pytest.raises(UserError, match=r"sampler and trainer differ by .* likely: dropout is on"):
        accumulate(task, rows, 0)
