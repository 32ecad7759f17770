"""How many bfloat16 weights an update moves, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from boresight.checks.forecast import bf16


def test_weights_stay_from_a_power_of_two_on():
    """256 · 2^-12 = 2^-4: from 2^-3 on neighbors are 2^-10 apart, more than twice 2^-12. 1.5 · 2^-12 is no
    power, and lies in the same octave."""
    for update in (2.0**-12, 1.5 * 2.0**-12):
        assert bf16.smallest_that_stays(update) == 2.0**-3
    assert bf16.smallest_that_stays(2.0**-11) == 2.0**-2


def test_a_share_of_a_normal_distribution():
    """2e-7 moves weights below 2^-14 = 6.1e-5: at spread 0.02, erf(6.1e-5 / 0.02 / √2) = 0.24 % of them."""
    assert bf16.share_of_normal(2e-7) == pytest.approx(0.002435, rel=1e-3)
    assert bf16.share_of_normal(2e-7, 0.01) == pytest.approx(math.erf(2.0**-14 / 0.01 / math.sqrt(2)))


def test_weights_at_hand_are_counted():
    """2^-12 moves what is below 2^-3: 0.1 and -0.12, not 0.125, 0.2 and -0.3; then two of two more."""
    some, more = torch.tensor([0.1, -0.12, 0.125, 0.2, -0.3]), torch.tensor([[0.0, 0.01]])
    assert bf16.movable_share(2.0**-12, [some]) == 2 / 5
    assert bf16.movable_share(2.0**-12, [some, more, torch.empty(9, device="meta")]) == 4 / 7


def test_without_weights_it_is_the_formula():
    for parameters in ([], [torch.empty(4, device="meta")]):
        assert bf16.movable_share(2e-7, parameters) == bf16.share_of_normal(2e-7)


def test_a_tensor_counts_by_its_size_and_is_sampled_all_over(monkeypatch):
    """2^-12 moves 0 and not 1. Of the eight the first and the sixth are looked at, one of which moves, and of
    the two both, neither of which does: (8 · 1/2 + 2 · 0) / 10, as in all ten."""
    monkeypatch.setattr(bf16, "SAMPLE", 4)
    large, small = torch.tensor([0.0] * 4 + [1.0] * 4), torch.ones(2)
    assert bf16.movable_share(2.0**-12, [large, small]) == 0.4
    assert bf16.movable_share(2.0**-12, [large, small, torch.empty(0)]) == 0.4


def test_a_sample_is_not_one_column_of_a_matrix(monkeypatch):
    """Every fourth element of a matrix of four columns is in its first column."""
    monkeypatch.setattr(bf16, "SAMPLE", 16)
    matrix = torch.ones(16, 4)
    matrix[:, 0] = 0.0
    assert bf16.movable_share(2.0**-12, [matrix]) == pytest.approx(0.25, abs=0.1)
