"""Logged numbers of one row each, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from boresight.methods.inputs import (
    GroupLogps,
    LossOutput,
    PairLogps,
    PairScores,
    PolicyPairLogps,
    SequenceLogps,
)
from boresight.training.metrics import Gathered, quantiles, row_metrics


def numbers(x):
    return {name: value.tolist() for name, value in row_metrics(x).items()}


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_a_demonstration():
    """30 nats over 20 tokens: 1.5 nats per token."""
    assert numbers(SequenceLogps(tensor(-30.0), tensor(20.0))) == {"nll_per_token": [1.5], "length": [20.0]}


def test_a_pair_with_a_reference():
    """Chosen gains -12 - (-15) = 3 nats over 10 tokens, rejected loses -30 - (-28) = -2 nats over 20.

    h = 3 - (-2) = 5. Both answers together: (3 - 2) nats over 30 tokens, so +1/30 per token.
    """
    x = PairLogps(*map(tensor, (-12.0, -30.0, -15.0, -28.0, 10.0, 20.0)))
    assert numbers(x) == {
        "margin": [5.0],
        "accuracy": [1.0],
        "chosen_logps": [-12.0],
        "rejected_logps": [-30.0],
        "chosen_logratio": [3.0],
        "rejected_logratio": [-2.0],
        "logratio_per_token": [pytest.approx(1 / 30)],
        "chosen_len": [10.0],
        "rejected_len": [20.0],
    }


def test_a_pair_that_loses_probability_has_a_negative_log_ratio_per_token():
    """-4 and -11 nats over 10 and 20 tokens: -15 / 30 = -1/2."""
    x = PairLogps(*map(tensor, (-19.0, -39.0, -15.0, -28.0, 10.0, 20.0)))
    assert numbers(x)["logratio_per_token"] == [-0.5]


def test_a_pair_without_a_reference():
    """-12/10 - (-30/20) = 0.3 nats per token."""
    x = PolicyPairLogps(*map(tensor, (-12.0, -30.0, 10.0, 20.0)))
    assert numbers(x)["margin"] == [pytest.approx(0.3)] and numbers(x)["accuracy"] == [1.0]


def test_scores_of_a_pair():
    """3 against 1: margin 2, mean 2. Differences below a thousandth are ties."""
    x = PairScores(tensor(3.0, 1.0, 1.0005, 1.002), tensor(1.0, 3.0, 1.0, 1.0), tensor(0.0, 0.0, 0.0, 0.0))
    got = numbers(x)
    assert got["accuracy"] == [1.0, 0.0, 0.5, 1.0]
    assert got["margin"][:2] == [2.0, -2.0] and got["score"][:2] == [2.0, 2.0]


def test_a_group():
    """Lengths 10 and 200: -1 and -2 nats per token, mean -1.5. Gaps to the sampler of 0.5 and 0.4 nats:
    the short answer counts as 100 tokens long, so 0.005 and 0.002, of which the larger is logged. Per square
    root of tokens, of which 16 count at least, 0.5 / 4 and 0.4 / 14.1; signed, -0.5 + 0.4 over 210 tokens."""
    policy, length = tensor(-10.0, -400.0)[None], tensor(10.0, 200.0)[None]
    x = GroupLogps(
        policy=policy,
        old=policy,
        ref=policy,
        reward=policy,
        length=length,
        truncated=torch.zeros(1, 2, dtype=torch.bool),
        sampled=policy + tensor(0.5, -0.4),
    )
    assert numbers(x) == {
        "length": [105.0],
        "logp_per_token": [-1.5],
        "sampler_gap": [pytest.approx(0.005)],
        "sampler_shift": [pytest.approx(-0.1 / 210)],
        "sampler_spread": [pytest.approx(0.125)],
    }


def test_rows_are_averaged_once_and_the_loss_by_its_weight():
    """Micro-batches of one row (loss 6) and three (loss 2): (6 + 3 * 2) / 4 = 3; the mean margin is 5/2."""
    gathered = Gathered()
    zeros = tensor(0.0)
    for ids, margins, loss in ((["a"], [1.0], 6.0), (["b", "c", "d"], [2.0, 3.0, 4.0], 2.0)):
        scores = PairScores(tensor(*margins), zeros.expand(len(ids)), zeros.expand(len(ids)))
        gathered.add(ids, scores, LossOutput(tensor(loss)[0], tensor(*margins), float(len(ids))))
    assert gathered.weight == 4
    summary = gathered.summary()
    assert summary["loss"] == 3.0 and summary["margin"] == 2.5
    assert summary["margin_p10"] == pytest.approx(1.3) and summary["margin_p50"] == pytest.approx(2.5)
    assert summary["margin_p90"] == pytest.approx(3.7)
    assert gathered.by_row()["margin"] == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}


def test_a_batch_that_weighs_nothing_has_no_loss():
    gathered = Gathered()
    gathered.add(
        ["a"], SequenceLogps(tensor(-1.0), tensor(2.0)), LossOutput(tensor(0.0)[0], tensor(0.0), 0.0)
    )
    assert math.isnan(gathered.summary()["loss"])


def test_quantiles_are_interpolated_and_skip_what_is_missing():
    """0.1 of the way through 1, 2, 3 is 1.2; 0.5 is 2."""
    assert quantiles(tensor(3.0, math.nan, 1.0, 2.0), (0.1, 0.5)) == pytest.approx([1.2, 2.0])
