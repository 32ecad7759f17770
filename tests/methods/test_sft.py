"""SFT against a value worked by hand."""

from __future__ import annotations

import pytest
import torch

from boresight.methods.inputs import SequenceLogps
from boresight.methods.sft import Config, loss


def test_hand_worked():
    """(12 + 3) nats over (10 + 2) tokens is 1.25 a token; the mean of per-answer means would be 1.35."""
    out = loss(SequenceLogps(torch.tensor([-12.0, -3.0]), torch.tensor([10.0, 2.0])), Config())
    assert out.loss.item() == pytest.approx(1.25)
    assert out.per_example.tolist() == pytest.approx([1.2, 1.5])
    assert out.weight == 12.0


def test_an_answer_without_scored_tokens_counts_for_nothing():
    out = loss(SequenceLogps(torch.tensor([-12.0, 0.0]), torch.tensor([10.0, 0.0])), Config())
    assert out.loss.item() == pytest.approx(1.2)
    assert out.per_example.tolist() == pytest.approx([1.2, 0.0])
