"""KTO against values worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from boresight.methods.inputs import LabeledLogps
from boresight.methods.kto import Config, loss

LN3, LN9 = math.log(3), math.log(9)


def answers(*logratios, label, kl=0.0):
    """Answers of ten tokens with -20 nats under the reference."""
    ratios = torch.tensor(logratios, dtype=torch.float64)
    ref = torch.full_like(ratios, -20.0)
    return LabeledLogps(
        policy=(ref + ratios).requires_grad_(),
        ref=ref,
        length=torch.full_like(ratios, 10.0),
        label=torch.tensor(label),
        kl=torch.full_like(ratios, kl),
    )


def test_hand_worked():
    """beta 0.5, z = 2 ln 3: the good answer is at r - z = 2 ln 9 - 2 ln 3, logit ln 3, sigmoid 3/4.

    The bad one is at z - r = 2 ln 3 - 2 ln 9, logit -ln 3, sigmoid 1/4. So the losses are 1 - 3/4 and
    1 - 1/4, the second times its weight 2: mean (0.25 + 1.5) / 2.
    """
    x = answers(2 * LN9, 2 * LN9, label=[True, False], kl=2 * LN3)
    out = loss(x, Config(beta=0.5, undesirable_weight=2.0))
    assert out.per_example.tolist() == pytest.approx([0.25, 1.5])
    assert out.loss.item() == pytest.approx(0.875)
    assert out.weight == 2.0


def test_gradient_is_weight_times_beta_times_the_slope_of_the_sigmoid():
    """Of the same answers: -1/2 * 0.5 * 3/16 for the good one, +1/2 * 2 * 0.5 * 3/16 for the bad one."""
    x = answers(2 * LN9, 2 * LN9, label=[True, False], kl=2 * LN3)
    loss(x, Config(beta=0.5, undesirable_weight=2.0)).loss.backward()
    assert x.policy.grad.tolist() == pytest.approx([-3 / 64, 3 / 32])


def test_a_negative_estimate_counts_as_no_kl():
    """z = max(0, kl), so the loss is that of z = 0: 1 - sigmoid(0) for a log-ratio of 0."""
    low, none = answers(0.0, 3.0, label=[True, False], kl=-7.0), answers(0.0, 3.0, label=[True, False])
    assert loss(low, Config()).per_example.tolist() == loss(none, Config()).per_example.tolist()
    assert loss(low, Config()).per_example[0].item() == 0.5


def test_the_kl_carries_no_gradient_into_the_loss():
    x = answers(1.0, -1.0, label=[True, False], kl=1.0)
    assert not loss(x, Config()).per_example.sum().isnan() and not x.kl.requires_grad


def test_half_of_the_weights_at_the_start():
    x = answers(0.0, 0.0, 0.0, 0.0, label=[True, True, True, False])
    out = loss(x, Config(desirable_weight=1.0, undesirable_weight=4.0))
    assert out.loss.item() == pytest.approx((3 * 0.5 + 2.0) / 4)


@pytest.mark.parametrize("label", [True, False])
def test_answers_of_one_label_alone_have_a_loss(label):
    x = answers(1.0, 2.0, label=[label, label], kl=1.0)
    out = loss(x, Config())
    out.loss.backward()
    assert out.loss.isfinite() and (x.policy.grad < 0).all() == label


@pytest.mark.parametrize("logratio", [-1e4, 1e4])
def test_far_away_the_loss_is_0_or_the_weight_and_its_gradient_0(logratio):
    x = answers(logratio, logratio, label=[True, False])
    out = loss(x, Config())
    out.loss.backward()
    assert sorted(out.per_example.tolist()) == [0.0, 1.0]
    assert x.policy.grad.tolist() == [0.0, 0.0]


def test_turning_all_labels_mirrors_the_margin(batches):
    """Property over random shapes and values: the two labels of one answer share the weight between them."""
    for size in (1, 2, 7, 31):
        for seed in range(20):
            x = batches.make(LabeledLogps, size, seed)
            turned = replace(x, label=~x.label)
            torch.testing.assert_close(x.margin, -turned.margin)
            both = loss(x, Config(beta=0.7)).per_example + loss(turned, Config(beta=0.7)).per_example
            torch.testing.assert_close(both, torch.ones_like(both))
            assert (loss(x, Config()).per_example[x.margin > 0] < 0.5).all()
