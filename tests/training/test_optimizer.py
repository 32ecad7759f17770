"""Schedules and clipping, worked by hand."""

import math

import pytest
import torch

from boresight.config.recipe import OptimSection
from boresight.training.optimizer.adamw import make_optimizer
from boresight.training.optimizer.clipping import divide_and_clip
from boresight.training.optimizer.learning_rate import learning_rate, learning_rate_sum


def test_cosine_with_warm_up():
    """10 steps, 20 % warm-up, peak 1: 0.5, 1, then cosine over 8 steps from 1 towards 0."""
    optim = OptimSection(lr=1.0, warmup=0.2)
    rates = [learning_rate(step, 10, optim) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))


def test_linear_and_constant():
    """4 steps without warm-up: linear 1, 3/4, 1/2, 1/4; constant 1 throughout."""
    linear = OptimSection(lr=1.0, warmup=0, schedule="linear")
    assert [learning_rate(step, 4, linear) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    constant = OptimSection(lr=1.0, warmup=0, schedule="constant")
    assert learning_rate_sum(4, constant) == 4.0


def test_sum_of_the_study_s_5k_run():
    """208 steps at 2e-7, cosine after 10 % warm-up: about half of 208 * 2e-7 = 4.2e-5."""
    optim = OptimSection(lr=2e-7, warmup=0.1)
    assert learning_rate_sum(208, optim) == pytest.approx(2.1e-5, rel=0.02)


def test_divides_by_the_weight_and_logs_the_norm_before_clipping():
    """Summed gradient (6, 8) over weight 2 is (3, 4): norm 5. Clipped at 1: (0.6, 0.8)."""
    p = torch.nn.Parameter(torch.zeros(2))
    p.grad = torch.tensor([6.0, 8.0])
    norm, clipped = divide_and_clip([p], 2.0, 1.0)
    assert (norm, clipped) == (pytest.approx(5.0), True)
    torch.testing.assert_close(p.grad, torch.tensor([0.6, 0.8]))


def test_does_not_clip_below_the_limit_or_without_one():
    for clip in (10.0, None):
        p = torch.nn.Parameter(torch.zeros(2))
        p.grad = torch.tensor([6.0, 8.0])
        assert divide_and_clip([p], 2.0, clip) == (pytest.approx(5.0), False)
        torch.testing.assert_close(p.grad, torch.tensor([3.0, 4.0]))


def test_matrices_decay_and_vectors_do_not():
    model = torch.nn.Linear(2, 2)
    optimizer = make_optimizer(model, OptimSection(lr=1e-3, weight_decay=0.1))
    decay = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {2: 0.1, 1: 0.0}
