"""SFT against TRL: the token-averaged loss over completions and its gradient."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("trl", reason="needs trl==1.16.0: make test-parity")
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from boresight.methods import sft
from boresight.methods.inputs import SequenceLogps
from boresight.models.packed.logprobs import completion_logprobs

pytestmark = pytest.mark.parity


def test_loss_and_gradient(make_model, make_row, gradients, tokenizer, pairs, settings):
    policy, fresh = make_model(1), make_model(1)
    trainer = SFTTrainer(
        model=policy,
        args=SFTConfig(**settings),
        train_dataset=Dataset.from_list(
            [{"prompt": p["prompt"], "completion": " " + p["chosen"]} for p in pairs]
        ),
        processing_class=tokenizer,
    )
    policy.eval()
    batch = trainer.data_collator(list(trainer.train_dataset))
    ids, labels, attended = batch["input_ids"], batch["labels"], batch["attention_mask"]
    rows = []
    for i in range(len(pairs)):
        n, answer = int(attended[i].sum()), int((labels[i] != -100).sum())
        tokens = ids[i, :n].tolist()
        rows.append(make_row(tokens[: n - answer], tokens[n - answer :]))
        assert tokens[-1] == tokenizer.eos_token_id
    expected = trainer.compute_loss(policy, batch)
    expected_gradient = gradients(policy, expected)

    logps = completion_logprobs(fresh, rows)
    loss = sft.loss(SequenceLogps(logps.sums[:, 0], logps.lengths[:, 0]), sft.Config()).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(fresh, loss), expected_gradient, rtol=1e-5, atol=1e-5)
