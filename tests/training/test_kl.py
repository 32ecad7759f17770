"""The exact KL along an answer, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from boresight.training.probes.kl import KLProbe, kl_divergence
from tests.tiny import tiny_model
from tests.training.fixtures import random_rows


def test_kl_by_hand():
    """1/2 · ln 2 + 1/4 · ln 1 + 1/4 · ln(1/2) = ln(2)/4, against 1/4, 1/4 and 1/2."""
    policy, reference = (
        torch.tensor([p], dtype=torch.float64).log() for p in ([0.5, 0.25, 0.25], [0.25, 0.25, 0.5])
    )
    assert kl_divergence(policy, reference).tolist() == pytest.approx([math.log(2) / 4])
    assert kl_divergence(policy, policy).tolist() == [0.0]


def test_a_token_that_no_model_draws_adds_nothing():
    """Logits of minus infinity, as of padded vocabulary. One that only the policy draws is infinitely far."""
    policy = torch.tensor([0.5, 0.5, 0.0]).log()
    assert kl_divergence(policy, torch.tensor([0.25, 0.75, 0.0]).log()).isfinite()
    assert kl_divergence(policy, torch.tensor([0.25, 0.5, 0.25]).log()).isfinite()
    assert kl_divergence(torch.tensor([0.5, 0.25, 0.25]).log(), policy) == math.inf


def test_the_probe_is_zero_until_the_policy_moves():
    policy, rows = tiny_model(), random_rows(3, 2)
    probe = KLProbe(policy, rows)
    assert set(probe()["kl_per_token"].values()) == {0.0}
    with torch.no_grad():
        policy.lm_head.weight.mul_(1.5)
    moved = probe()["kl_per_token"]
    assert moved.keys() == {row.id for row in rows} and all(value > 0 for value in moved.values())
