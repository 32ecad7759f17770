"""ORPO against TRL: values and gradients on one tiny model.

TRL's likelihood runs over prompt and chosen answer and over the tokens of the batch. With a prompt of one
token, which nothing predicts, and one pair, it is the chosen answer's own; of more pairs only the odds ratio
is compared, which is the same whatever the prompt.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("trl", reason="needs trl==1.16.0: make test-parity")
from datasets import Dataset
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from boresight.methods import orpo
from boresight.methods.inputs import PolicyPairLogps
from boresight.models.packed.logprobs import completion_logprobs

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def prepared(make_model, make_row, tokenizer, settings):
    """TRL's trainer, its batch, and our inputs for the same tokens under an equal model."""

    def run(pairs, weight):
        trainer = ORPOTrainer(
            model=make_model(1),
            args=ORPOConfig(**settings, beta=weight, max_length=64, remove_unused_columns=False),
            train_dataset=Dataset.from_list([spaced(pair) for pair in pairs]),
            processing_class=tokenizer,
        )
        trainer.model.eval()
        examples = list(trainer.train_dataset)
        fresh = make_model(1)
        rows = [make_row(e["prompt_input_ids"], answer(e, "chosen"), answer(e, "rejected")) for e in examples]
        logps = completion_logprobs(fresh, rows)
        x = PolicyPairLogps(*logps.sums.unbind(1), *logps.lengths.unbind(1))
        return trainer, trainer.data_collator(examples), fresh, x

    return run


def spaced(pair):
    """TRL joins prompt and answer as they are, and the words of this tokenizer end at a space."""
    return {**pair, "prompt": f"{pair['prompt']} "}


def answer(example, side):
    """The tokens that TRL scores."""
    return [token for token in example[f"{side}_labels"] if token != -100]


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_loss_and_gradient_of_one_pair(prepared, gradients, pairs, index, weight):
    trainer, batch, fresh, x = prepared([{**pairs[index], "prompt": "w5"}], weight)
    expected, _ = trainer.get_batch_loss_metrics(trainer.model, batch)
    expected_gradient = gradients(trainer.model, expected)
    out = orpo.loss(x, orpo.Config(odds_weight=weight))
    assert expected_gradient.abs().max() > 1e-2
    torch.testing.assert_close(out.loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(fresh, out.loss), expected_gradient, rtol=1e-5, atol=1e-5)


def test_odds_ratio_of_a_batch(prepared, gradients, pairs):
    """The difference of TRL's losses at two weights is the odds ratio alone."""
    trainer, batch, fresh, x = prepared(pairs, 1.0)
    chosen, rejected, *_ = trainer.concatenated_forward(trainer.model, batch)
    losses, *_ = trainer.odds_ratio_loss(chosen, rejected)
    expected = -losses.mean()
    expected_gradient = gradients(trainer.model, expected)
    whole = orpo.loss(x, orpo.Config(odds_weight=2.0)).loss - orpo.loss(x, orpo.Config(odds_weight=1.0)).loss
    assert expected_gradient.abs().max() > 1e-2
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(fresh, whole), expected_gradient, rtol=1e-5, atol=1e-5)
