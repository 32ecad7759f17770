"""Online DPO against TRL on given samples: rewards, who wins, loss and gradient."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="needs trl==1.16.0: make test-parity")
from datasets import Dataset
from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

from boresight.methods import online_dpo
from boresight.methods.inputs import OnlinePairLogps
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.sampler.sample import Sample
from boresight.training.rollouts.rollout import _labeled, why_no_pair

pytestmark = pytest.mark.parity

PROMPTS, LENGTH = 5, 6
REWARDS = [1.0, 0.0, 0.5, 2.0, 1.0, 0.0, 1.0, 0.25, 3.0, -1.0]
"""Of the first samples of five prompts, then of the second ones; no two of a prompt tie."""


def as_sample(ids):
    return Sample(0, np.array(ids, np.int32), np.zeros(len(ids)), "stop")


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_loss_and_gradient(make_model, gradients, tokenizer, settings, monkeypatch, beta):
    rng = random.Random(3)
    prompts = [[rng.randrange(3, 60) for _ in range(4)] for _ in range(PROMPTS)]
    answers = [[rng.randrange(3, 60) for _ in range(rng.randint(2, LENGTH - 1))] + [1] for _ in REWARDS]
    policy = make_model(1)
    trainer = OnlineDPOTrainer(
        model=policy,
        ref_model=make_model(2),
        reward_funcs=lambda completions, **_: REWARDS,
        args=OnlineDPOConfig(**settings, beta=beta, max_new_tokens=LENGTH, logging_steps=1),
        train_dataset=Dataset.from_list([{"prompt": "w1"}]),
        processing_class=tokenizer,
    )
    padded = torch.tensor([a + [0] * (LENGTH - len(a)) for a in answers])
    mask = torch.tensor([[1] * len(a) + [0] * (LENGTH - len(a)) for a in answers])
    ids = torch.tensor(prompts * 2)
    generated = (ids, torch.ones_like(ids), padded, mask, None)
    monkeypatch.setattr(trainer, "_generate", lambda *_: generated)
    trainer.ref_model.eval()
    kept = {}
    monkeypatch.setattr(trainer.accelerator, "backward", lambda loss, **_: kept.update(loss=loss))
    trainer.training_step(policy, {"prompt": ["?"] * PROMPTS})
    expected_gradient = gradients(policy, kept["loss"])

    rows = []
    for i, prompt in enumerate(prompts):
        pair = [
            Sample(i, np.array(answers[j], np.int32), np.zeros(len(answers[j])), "stop")
            for j in (i, i + PROMPTS)
        ]
        rewards = [REWARDS[i], REWARDS[i + PROMPTS]]
        assert why_no_pair(*pair, *rewards) is None
        rows.append(_labeled(str(i), np.array(prompt, np.int32), pair, rewards, False))
    fresh = make_model(1)
    logps = completion_logprobs(fresh, rows)
    with torch.no_grad():
        ref = completion_logprobs(make_model(2), rows)
    x = OnlinePairLogps(
        *logps.sums.unbind(1), *ref.sums.unbind(1), *logps.lengths.unbind(1),
        chosen_from_ref=torch.zeros(PROMPTS, dtype=torch.bool),
    )  # fmt: skip
    out = online_dpo.loss(x, online_dpo.Config(beta=beta))
    torch.testing.assert_close(out.loss, kept["loss"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(fresh, out.loss), expected_gradient, rtol=1e-5, atol=1e-5)
    assert expected_gradient.abs().max() > 1e-2
