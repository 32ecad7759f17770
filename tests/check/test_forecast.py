"""The curve, its inverse, and adding a run's own points."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.check.bf16 import movable_share, share_of_normal, smallest_that_stays
from boresight.check.calibration import Curve, choose, curves, expect
from boresight.check.forecast import forecast, sigmoid_loss
from tests.check import builders as b

PUBLIC = curves()[0]
ROOT = Path(__file__).parents[2]


def test_the_public_curve_goes_through_its_points():
    """Points of the model card: 0.15, 0.54, 1.2 and 5.1 nats."""
    for budget, margin in ((2.6e-5, 0.15), (5.8e-5, 0.54), (1.03e-4, 1.2), (9.7e-4, 5.1)):
        assert PUBLIC.margin(budget) == pytest.approx(margin)
    assert PUBLIC.accuracy(2.6e-5) == pytest.approx(0.564)
    assert PUBLIC.accuracy(1) == pytest.approx(0.693)  # flat outside


@given(st.floats(1e-7, 1e-1), st.floats(1.001, 10))
def test_more_budget_never_buys_less(budget, factor):
    assert PUBLIC.margin(budget * factor) >= PUBLIC.margin(budget)


@given(st.floats(0.05, 20))
def test_the_budget_of_a_margin_buys_it(margin):
    assert PUBLIC.margin(PUBLIC.budget(margin)) == pytest.approx(margin, rel=0.01)


def test_losses_at_a_margin():
    """ln(1 + exp(-beta h)) by hand: ln 2 at 0; at beta 0.01 five nats leave 0.6685; at 0.5 one nat leaves "
    "0.474."""
    assert sigmoid_loss(0, 0.1) == pytest.approx(math.log(2))
    assert sigmoid_loss(5, 0.01) == pytest.approx(0.6685, abs=5e-5)
    assert sigmoid_loss(1, 0.5) == pytest.approx(0.4741, abs=5e-5)


def test_no_curve_for_models_of_another_scale_or_unknown_size():
    assert expect(1e-4, 870_000, False) is None
    assert expect(1e-4, None, False) is None
    assert forecast(b.recipe("sft"), 100, b.QWEN).margin is None
    assert forecast(b.recipe("rloo", reward=[{"function": "countdown"}]), 100, b.QWEN).loss is None


def test_lora_borrows_the_full_curve_until_it_has_its_own():
    borrowed = expect(1e-3, b.QWEN, True)
    assert borrowed.middle == pytest.approx(PUBLIC.margin(1e-4))
    assert borrowed.high / borrowed.low == pytest.approx(25)
    own = Curve("mine", 100_000_000, True, "own", ((1e-3, 2.0, 0.6), (1e-2, 6.0, 0.7)))
    curve, scale, _ = choose(b.QWEN, True, [PUBLIC, own])
    assert (curve.model, scale) == ("mine", 1.0)


def test_bfloat16_by_hand():
    """0.02 lies between 2^-6 and 2^-5, where neighbours are 2^-13 apart: updates below 2^-14 = 6.1e-5 are "
    "lost."""
    import torch

    weight = torch.tensor(0.02, dtype=torch.bfloat16)
    assert weight + torch.tensor(5e-5, dtype=torch.bfloat16) == weight
    assert weight + torch.tensor(7e-5, dtype=torch.bfloat16) != weight
    assert smallest_that_stays(5e-5) <= 0.02 < smallest_that_stays(7e-5)


def test_the_formula_counts_what_really_moves():
    import torch

    weights = 0.02 * torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    half = weights.bfloat16()
    for update in (1e-6, 5e-6, 1e-5):
        moved = (half.float() + update).bfloat16() != half
        assert float(moved.float().mean()) == pytest.approx(share_of_normal(update), rel=0.1)
        assert movable_share(update, [half]) == pytest.approx(share_of_normal(update), rel=0.1)


@pytest.fixture
def calibrate():
    spec = importlib.util.spec_from_file_location("calibrate", ROOT / "scripts" / "calibrate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_run_adds_its_points_once(tmp_path, calibrate, monkeypatch):
    run = tmp_path / "mine"
    run.mkdir()
    (run / "config.yaml").write_text(b.recipe("dpo").to_yaml())
    log = b.log(
        20, lr_sum=lambda t: 1e-4 * t, held_margin=lambda t: 2 * t, held_accuracy=lambda t: 0.5 + 0.2 * t
    )
    lines = [{"step": s, "split": k} | n for s, k, n in log]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(calibrate, "make_tokenizer", lambda recipe: None)
    monkeypatch.setattr(calibrate, "make_skeleton", lambda recipe, tokenizer: None)
    monkeypatch.setattr(calibrate, "size_of", lambda recipe, model: 134_515_008)
    file = tmp_path / "curves.jsonl"
    for _ in range(2):
        calibrate.main(run, data="test pairs", file=file)
    (curve,) = curves(file)
    assert curve.points == ((5e-5, 1.0, 0.6), (1e-4, 2.0, 0.7))
    assert curve.parameters == 134_515_008
