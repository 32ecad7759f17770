"""KTO against TRL: values and gradients on one tiny model that has left its reference.

TRL takes mismatched answers of the same batch, each prompt with the answer of the row before. Both sides are
given the same ones here.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("trl", reason="needs trl==1.16.0: make test-parity")
from datasets import Dataset
from trl import KTOConfig, KTOTrainer

from boresight.methods import kto
from boresight.models.reference.frozen import store_reference
from boresight.training.forward import INPUT_KINDS
from boresight.training.mismatched import each_alone, estimate_kl, mismatched_alone, together

pytestmark = pytest.mark.parity

LABELS = {"mixed": [True, False, True, True, False, False], "good": [True] * 6, "bad": [False] * 6}
WEIGHTS = {"even": (1.0, 1.0), "uneven": (0.8, 3.0)}


@pytest.fixture
def compared(make_model, make_row, tokenizer, settings, pairs):
    """TRL's loss with its model, and ours with an equal one, for the same rows and reference."""

    def run(labels, beta, weights, policy, reference):
        good, bad = weights
        trainer = KTOTrainer(
            model=make_model(policy),
            ref_model=make_model(reference),
            args=KTOConfig(
                **settings, beta=beta, desirable_weight=good, undesirable_weight=bad, max_length=64,
                per_device_train_batch_size=6, remove_unused_columns=False,
            ),
            train_dataset=Dataset.from_list(
                [
                    {"prompt": f"{pair['prompt']} ", "completion": pair["chosen"], "label": label}
                    for pair, label in zip(pairs, labels, strict=True)
                ]
            ),
            processing_class=tokenizer,
        )  # fmt: skip
        trainer.model.eval()
        examples = list(trainer.train_dataset)
        expected = trainer._compute_loss(trainer.model, trainer.data_collator(examples), False)
        fresh = make_model(policy)
        rows = [row_of(example, make_row) for example in examples]
        ref = each_alone(store_reference(make_model(reference), together(rows), 10_000), rows)
        kl = estimate_kl(fresh, ref, [(mismatched_alone(rows), True)])
        x = INPUT_KINDS[kto.LabeledLogps].build(fresh, ref, rows, 1.0)
        x = replace(x, kl=kl.float().expand(len(rows)))
        out = kto.loss(x, kto.Config(beta=beta, desirable_weight=good, undesirable_weight=bad))
        return trainer, expected, fresh, x, out

    return run


def row_of(example, make_row):
    """A row with TRL's tokens, label and mismatched answer."""
    own = make_row(example["prompt_ids"], example["completion_ids"])
    (other,) = make_row(example["prompt_ids"], example["KL_completion_ids"]).completions
    return replace(own, scores=(float(example["label"]),), mismatched=other)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("models", [(1, 2), (2, 1)], ids=["kl above 0", "kl below 0"])
def test_loss_and_gradient(compared, gradients, labels, weights, models):
    trainer, expected, fresh, x, out = compared(LABELS[labels], 0.02, WEIGHTS[weights], *models)
    expected_gradient = gradients(trainer.model, expected)
    assert expected_gradient.abs().max() > 1e-2
    (kl,) = trainer._metrics["eval"]["kl"]
    assert x.reference_point.tolist() == pytest.approx([kl] * 6, rel=1e-5, abs=1e-5)
    torch.testing.assert_close(out.loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients(fresh, out.loss), expected_gradient, rtol=1e-5, atol=1e-5)


def test_both_sides_of_the_estimate_are_seen(compared):
    """One pair of models has a positive estimate of the KL, the other a negative one, which counts as 0."""
    points = [compared(LABELS["mixed"], 0.1, WEIGHTS["even"], *models)[3] for models in [(1, 2), (2, 1)]]
    assert sorted((x.kl > 0).all().item() for x in points) == [False, True]
