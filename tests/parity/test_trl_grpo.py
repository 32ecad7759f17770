"""GRPO against TRL on given completions: advantages, loss and gradient, with its successors' settings.

TRL multiplies its KL by the ratio unless told otherwise, which the paper does not.
"""

from __future__ import annotations

import random

import pytest
import torch

pytest.importorskip("trl", reason="needs trl==1.16.0: make test-parity")
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from boresight.methods import grpo
from boresight.methods.inputs import GroupTokenLogps
from boresight.models.packed.logprobs import completion_logprobs

pytestmark = pytest.mark.parity

K, LONGEST = 4, 10
REWARDS = [[1.0, 0.0, 0.0, 1.0], [0.5, 0.25, 0.0, 1.0]]
WITH_MISSING = [[1.0, None, 0.0, 1.0], [0.5, 0.25, 0.0, 1.0]]
CASES = {
    "paper": ({"loss_type": "grpo"}, {}),
    "token mean": ({"loss_type": "bnpo"}, {"average": "token"}),
    "Dr. GRPO": (
        {"loss_type": "dr_grpo", "scale_rewards": "none"},
        {"average": "sum", "standardize": False},
    ),
    "clip higher": ({"loss_type": "grpo", "epsilon_high": 0.28}, {"clip_high": 0.28}),
    "GSPO": ({"loss_type": "grpo", "importance_sampling_level": "sequence"}, {"ratio": "sequence"}),
}


@pytest.fixture
def scored(make_model, tokenizer, settings, monkeypatch):
    """TRL's trainer and its view of two prompts with four given completions each."""

    def run(rewards, beta, options):
        rng = random.Random(1)
        prompts = [[rng.randrange(3, 60) for _ in range(n)] for n in (4, 7)]
        answers = [[rng.randrange(3, 60) for _ in range(rng.randint(2, 9))] + [1] for _ in range(2 * K)]
        flat = [value for group in rewards for value in group]
        trainer = GRPOTrainer(
            model=make_model(1),
            reward_funcs=lambda completions, **_: flat,
            args=GRPOConfig(
                **settings, **options, num_generations=K, per_device_train_batch_size=2 * K, beta=0.0,
                epsilon=0.05, max_completion_length=LONGEST, use_bias_correction_kl=False,
            ),
            train_dataset=Dataset.from_list([{"prompt": "w1"}]),
            processing_class=tokenizer,
        )  # fmt: skip
        trainer.beta, trainer.ref_model = beta, make_model(2)
        add_fused_lm_head(trainer.ref_model)  # what the constructor does to a reference it loads itself
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1  # as its training loop sets it
        per_completion = [prompt for prompt in prompts for _ in range(K)]
        generated = (per_completion, answers, None, ["?"] * (2 * K), None, {}, None, None)
        monkeypatch.setattr(trainer, "_generate", lambda *_: generated)
        batch = trainer._generate_and_score_completions([{"prompt": "?"}] * (2 * K))
        return trainer, batch, prompts, answers

    return run


def inputs(make_model, make_row, prompts, answers, rewards, policy):
    """Ours for the same tokens: the sampler is the model as it was, the reference another."""
    rows = [make_row(prompt, *answers[i * K : (i + 1) * K]) for i, prompt in enumerate(prompts)]
    logps = completion_logprobs(policy, rows, tokens=True)
    with torch.no_grad():
        old, ref = (completion_logprobs(make_model(seed), rows, tokens=True) for seed in (1, 2))
    reward = torch.tensor([[torch.nan if r is None else r for r in group] for group in rewards])
    return GroupTokenLogps(
        logps.sums, old.sums, ref.sums, reward, logps.lengths, torch.zeros_like(reward, dtype=torch.bool),
        policy_tokens=logps.tokens, old_tokens=old.tokens, ref_tokens=ref.tokens,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("moved", [False, True], ids=["on-policy", "policy moved"])
@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_loss_and_gradient(scored, make_model, make_row, gradients, case, moved, beta):
    """TRL divides Dr. GRPO's sum by the longest completion allowed; here it is not divided."""
    theirs, ours = CASES[case]
    trainer, batch, prompts, answers = scored(REWARDS, beta, theirs)
    policy = make_model(1)
    if moved:
        with torch.no_grad():
            for model in (policy, trainer.model):
                for p in model.parameters():
                    p.mul_(1.02)
        batch["old_per_token_logps"] = old_tokens(trainer, make_model, batch)
    expected = trainer.compute_loss(trainer.model, batch)
    expected_gradient = gradients(trainer.model, expected)
    x = inputs(make_model, make_row, prompts, answers, REWARDS, policy)
    out = grpo.loss(x, grpo.Config(beta=beta, clip=0.05, **ours))
    if moved and "clip_high" not in ours:
        assert 0 < out.metrics["clipped_ratio"].mean() < 1, "nothing is clipped, or everything"
    divisor = LONGEST if case == "Dr. GRPO" else 1
    torch.testing.assert_close(out.loss / divisor, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(policy, out.loss / divisor), expected_gradient, rtol=1e-5, atol=1e-5)
    assert expected_gradient.abs().max() > 1e-3


def old_tokens(trainer, make_model, batch):
    """What TRL keeps of the sampler where a batch is used more than once."""
    model = make_model(1)
    add_fused_lm_head(model)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    with torch.no_grad():
        logps, *_ = trainer._get_per_token_logps_and_entropies(
            model, ids, mask, batch["completion_ids"].size(1)
        )
    return logps


@pytest.mark.parametrize("standardize", [True, False])
def test_advantages_with_a_missing_reward(scored, standardize):
    scale = "group" if standardize else "none"
    _, batch, _, _ = scored(WITH_MISSING, 0.0, {"scale_rewards": scale})
    reward = torch.tensor([[torch.nan if r is None else r for r in group] for group in WITH_MISSING])
    mine = grpo.advantages(reward, standardize).nan_to_num(0.0)
    torch.testing.assert_close(mine.flatten(), batch["advantages"], rtol=1e-5, atol=1e-5)
