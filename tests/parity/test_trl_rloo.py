"""RLOO against TRL on given completions: rewards with KL, leave-one-out advantages, loss and gradient."""

from __future__ import annotations

import random

import pytest
import torch

pytest.importorskip("trl", reason="needs trl==1.16.0: make test-parity")
from datasets import Dataset
from trl import RLOOConfig, RLOOTrainer
from trl.trainer.utils import add_fused_lm_head

from boresight.methods import rloo
from boresight.methods.inputs import GroupLogps
from boresight.models.packed.logprobs import completion_logprobs

pytestmark = pytest.mark.parity

K, BETA = 4, 0.05
COMPLETE = [[1.0, 0.0, 0.0, 1.0], [0.5, 0.25, 0.0, 1.0]]
WITH_MISSING = [[1.0, None, 0.0, 1.0], [0.5, 0.25, 0.0, 1.0]]


@pytest.fixture
def scored(make_model, tokenizer, settings, monkeypatch):
    """TRL's trainer and its view of two prompts with four given completions each."""

    def run(rewards):
        rng = random.Random(1)
        prompts = [[rng.randrange(3, 60) for _ in range(n)] for n in (4, 7)]
        answers = [[rng.randrange(3, 60) for _ in range(rng.randint(2, 9))] + [1] for _ in range(2 * K)]
        flat = [value for group in rewards for value in group]
        trainer = RLOOTrainer(
            model=make_model(1),
            reward_funcs=lambda completions, **_: flat,
            args=RLOOConfig(
                **settings, num_generations=K, per_device_train_batch_size=2 * K, beta=0.0, epsilon=0.2
            ),
            train_dataset=Dataset.from_list([{"prompt": "w1"}]),
            processing_class=tokenizer,
        )
        trainer.beta, trainer.ref_model = BETA, make_model(2)
        add_fused_lm_head(trainer.ref_model)  # what the constructor does to a reference it loads itself
        trainer.model.train()
        per_completion = [prompt for prompt in prompts for _ in range(K)]
        monkeypatch.setattr(trainer, "_generate", lambda _: (per_completion, answers, ["?"] * (2 * K)))
        batch = trainer._generate_and_score_completions([{"prompt": "?"}] * (2 * K))
        return trainer, batch, prompts, answers

    return run


@pytest.mark.parametrize("rewards", [COMPLETE, WITH_MISSING], ids=["complete", "one missing"])
@pytest.mark.parametrize("moved", [False, True], ids=["on-policy", "policy moved"])
def test_advantages_loss_and_gradient(scored, make_model, make_row, gradients, rewards, moved):
    """TRL divides by all completions, here by those that have an advantage: the sums are the same."""
    trainer, batch, prompts, answers = scored(rewards)
    policy, sampler, reference = make_model(1), make_model(1), make_model(2)
    if moved:
        with torch.no_grad():
            for model in (policy, trainer.model):
                for p in model.parameters():
                    p.mul_(1.01)
    expected = trainer.compute_loss(trainer.model, batch)
    expected_gradient = gradients(trainer.model, expected)

    rows = [make_row(prompt, *answers[i * K : (i + 1) * K]) for i, prompt in enumerate(prompts)]
    logps = completion_logprobs(policy, rows)
    with torch.no_grad():
        old, ref = (completion_logprobs(model, rows).sums for model in (sampler, reference))
    reward = torch.tensor([[torch.nan if r is None else r for r in group] for group in rewards])
    x = GroupLogps(logps.sums, old, ref, reward, logps.lengths, torch.zeros_like(reward, dtype=torch.bool))
    out = rloo.loss(x, rloo.Config(beta=BETA, clip=0.2))

    advantages = rloo.leave_one_out(reward - BETA * (old - ref)).nan_to_num(0.0)
    torch.testing.assert_close(advantages.flatten(), batch["advantages"], rtol=1e-5, atol=1e-5)
    share = out.weight / (2 * K)
    assert share == (1.0 if rewards is COMPLETE else 7 / 8)
    torch.testing.assert_close(out.loss * share, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(policy, out.loss * share), expected_gradient, rtol=1e-5, atol=1e-5)
    assert expected_gradient.abs().max() > 1e-2
