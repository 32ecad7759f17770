"""The reward model's loss against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from boresight.methods.inputs import PairScores
from boresight.methods.reward import Config, loss

score = st.floats(-20, 20, allow_nan=False)


def scores(won, lost, gap=0.0):
    values = [torch.tensor([v], dtype=torch.float64) for v in (won, lost, gap)]
    values[0].requires_grad_()
    values[1].requires_grad_()
    return PairScores(*values)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # r_w - r_l = 2: ln(1 + e^-2)
        ({}, 0.12692801104),
        # a margin of 0.5 * 3 leaves 0.5: ln(1 + e^-0.5)
        ({"margin_scale": 0.5}, 0.47407698418),
        # 0.126928 + 0.01 * (1.5 - 0.5)^2
        ({"centering": 0.01}, 0.13692801104),
        ({"margin_scale": 0.5, "centering": 0.01}, 0.48407698418),
    ],
    ids=str,
)
def test_hand_worked(options, expected):
    assert loss(scores(1.5, -0.5, gap=3.0), Config(**options)).loss.item() == pytest.approx(
        expected, abs=1e-10
    )


def test_equal_scores_cost_ln_two():
    assert loss(scores(0.7, 0.7), Config()).loss.item() == pytest.approx(math.log(2), abs=1e-15)


@given(won=score, lost=score, shift=score)
def test_level_is_free_without_centering_and_not_with_it(won, lost, shift):
    """Adding c to both leaves Bradley-Terry; the squared sum of the rewards goes to (won + lost + 2c)^2."""
    here, there = (loss(scores(won + c, lost + c), Config()).loss.item() for c in (0.0, shift))
    assert there == pytest.approx(here, abs=1e-10)
    here, there = (loss(scores(won + c, lost + c), Config(centering=0.01)).loss.item() for c in (0.0, shift))
    assert there - here == pytest.approx(0.01 * ((won + lost + 2 * shift) ** 2 - (won + lost) ** 2), abs=1e-9)


@given(won=score, lost=score)
def test_gradient_raises_the_chosen_and_lowers_the_rejected(won, lost):
    x = scores(won, lost)
    loss(x, Config()).loss.backward()
    assert x.chosen.grad.item() == pytest.approx(-1 / (1 + math.exp(won - lost)), rel=1e-9)
    assert x.rejected.grad.item() == -x.chosen.grad.item()
