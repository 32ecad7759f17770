"""DPO, its options and IPO against TRL: log-probabilities, losses and gradients on one tiny model."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("trl", reason="needs trl==1.16.0: make test-parity")
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from boresight import methods
from boresight.methods.inputs import PairLogps
from boresight.models.packed.logprobs import completion_logprobs

pytestmark = pytest.mark.parity

CASES = {
    "sigmoid": ({"loss_type": ["sigmoid"], "beta": 0.1}, "dpo", {"beta": 0.1}),
    "sigmoid, strong": ({"loss_type": ["sigmoid"], "beta": 0.7}, "dpo", {"beta": 0.7}),
    "hinge": ({"loss_type": ["hinge"], "beta": 0.1}, "dpo", {"loss_type": "hinge", "beta": 0.1}),
    "per token": (
        {"loss_type": ["sigmoid_norm"], "beta": 2.0},
        "dpo",
        {"length_normalised": True, "beta": 2.0},
    ),
    "ipo, averaged": ({"loss_type": ["ipo"], "beta": 0.3}, "ipo", {"reduction": "mean", "tau": 0.3}),
}


@pytest.fixture(scope="module")
def compare(make_model, make_row, gradients, tokenizer, pairs, settings):
    """Both sides' loss, gradient and summed log-probabilities for the same pairs."""

    def run(theirs, name, ours, take=slice(None)):
        policy, reference = make_model(1), make_model(2)
        trainer = DPOTrainer(
            model=policy,
            ref_model=reference,
            args=DPOConfig(**settings, **theirs),
            train_dataset=Dataset.from_list(pairs[take]),
            processing_class=tokenizer,
        )
        examples = list(trainer.train_dataset)
        policy.eval()
        expected = trainer.compute_loss(policy, trainer.data_collator(examples))
        expected_gradient = gradients(policy, expected)
        logged = {key: values[0] for key, values in trainer._metrics["eval"].items()}

        fresh, frozen = make_model(1), make_model(2)
        rows = [make_row(e["prompt_ids"], e["chosen_ids"], e["rejected_ids"]) for e in examples]
        logps = completion_logprobs(fresh, rows)
        with torch.no_grad():
            ref = completion_logprobs(frozen, rows)
        x = PairLogps(*logps.sums.unbind(1), *ref.sums.unbind(1), *logps.lengths.unbind(1))
        method = methods.get(name)
        loss = method.loss(x, method.Config(**ours)).loss
        return (expected.detach(), expected_gradient), (loss.detach(), gradients(fresh, loss)), logged, x

    return run


def assert_same(theirs, ours):
    (their_loss, their_gradient), (our_loss, our_gradient) = theirs, ours
    assert our_gradient.abs().max() > 1e-2, "a gradient that vanishes shows nothing"
    torch.testing.assert_close(our_loss, their_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(compare, case):
    theirs, ours, _, _ = compare(*CASES[case])
    assert_same(theirs, ours)


def test_log_probabilities(compare):
    """TRL logs means over the batch, and rewards as beta times the log-ratio."""
    _, _, logged, x = compare(*CASES["sigmoid"])
    mine = {
        "logps/chosen": x.policy_chosen.mean(),
        "logps/rejected": x.policy_rejected.mean(),
        "rewards/chosen": 0.1 * x.chosen_logratio.mean(),
        "rewards/rejected": 0.1 * x.rejected_logratio.mean(),
        "rewards/margins": 0.1 * x.margin.mean(),
        "rewards/accuracies": (x.margin > 0).float().mean(),
    }
    for key, value in mine.items():
        assert value.item() == pytest.approx(logged[key], rel=1e-5, abs=1e-5), key


@pytest.mark.parametrize("index", range(3))
def test_label_smoothing(compare, index):
    """TRL's `sigmoid` ignores label_smoothing; its `aot` applies cDPO's to margins it sorts over the
    batch, which is cDPO itself when the batch is one pair."""
    theirs, ours, _, _ = compare(
        {"loss_type": ["aot"], "label_smoothing": 0.2, "beta": 0.1},
        "dpo",
        {"label_smoothing": 0.2, "beta": 0.1},
        take=slice(index, index + 1),
    )
    assert_same(theirs, ours)


def test_label_smoothing_against_robust(compare):
    """TRL's `robust` is ((1 - e) L(h) - e L(-h)) / (1 - 2e), an unbiased estimate of the clean loss, where
    cDPO is (1 - e) L(h) + e L(-h). With L(h) from `sigmoid` the one follows from the other."""
    e = 0.2
    clean, _, _, _ = compare(*CASES["sigmoid"])
    robust, _, _, _ = compare({"loss_type": ["robust"], "label_smoothing": e, "beta": 0.1}, "dpo", {})
    _, ours, _, _ = compare({"loss_type": ["sigmoid"], "beta": 0.1}, "dpo", {"label_smoothing": e})
    implied = tuple(2 * (1 - e) * c - (1 - 2 * e) * r for c, r in zip(clean, robust, strict=True))
    assert_same(implied, ours)


def test_added_sft_term(compare):
    """TRL averages the added likelihood over the tokens of the batch, RPO's paper over each answer's own:
    the same for one pair."""
    theirs, ours, _, _ = compare(
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5], "beta": 0.1},
        "dpo",
        {"sft_weight": 0.5, "beta": 0.1},
        take=slice(2, 3),
    )
    assert_same(theirs, ours)


def test_summed_ipo_is_another_algorithm(compare):
    """The default here, the paper's sum, is not what TRL's `ipo` computes."""
    theirs, ours, _, _ = compare({"loss_type": ["ipo"], "beta": 0.3}, "ipo", {"reduction": "sum", "tau": 0.3})
    assert (theirs[0] - ours[0]).abs() > 1
