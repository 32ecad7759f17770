"""The reward model's loss against TRL: margins and centering, values and gradients."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("trl", reason="needs trl==1.16.0: make test-parity")
from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from boresight.methods import reward
from boresight.methods.inputs import PairScores

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("gaps", [False, True], ids=["plain", "margin"])
@pytest.mark.parametrize("centering", [0.0, 0.05])
def test_loss_and_gradient(make_model, gradients, tokenizer, pairs, settings, gaps, centering):
    """TRL's `margin` column is the margin itself; here it is `margin_scale` times the dataset's score gap."""
    gap = torch.tensor([0.5, 2.0, 1.0, 0.0, 3.5, 1.5]) if gaps else torch.zeros(6)
    column = [{"margin": 0.4 * g} for g in gap.tolist()] if gaps else [{}] * 6
    model, fresh = make_model(3, scores=True), make_model(3, scores=True)
    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(**settings, center_rewards_coefficient=centering or None),
        train_dataset=Dataset.from_list([{**p, **m} for p, m in zip(pairs, column, strict=True)]),
        processing_class=tokenizer,
    )
    model.eval()
    examples = list(trainer.train_dataset)
    expected = trainer.compute_loss(model, trainer.data_collator(examples))
    expected_gradient = gradients(model, expected)

    def score(ids):
        return fresh(input_ids=torch.tensor([ids])).logits.squeeze()

    x = PairScores(
        torch.stack([score(e["chosen_ids"]) for e in examples]),
        torch.stack([score(e["rejected_ids"]) for e in examples]),
        gap,
    )
    loss = reward.loss(x, reward.Config(margin_scale=0.4 if gaps else 0.0, centering=centering)).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(fresh, loss), expected_gradient, rtol=1e-5, atol=1e-5)
