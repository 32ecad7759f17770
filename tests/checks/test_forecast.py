"""The curve, its inverse, and adding a run's own points."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.checks.forecast.bf16 import movable_share, share_of_normal, smallest_that_stays
from boresight.checks.forecast.calibration import CalibrationCurve, calibration_curves, choose
from boresight.checks.forecast.forecast import forecast
from boresight.checks.forecast.pair_sources import digest_name, pair_sources
from boresight.core.errors import UserError
from tests.checks import builders as b

PUBLIC = calibration_curves()[0]
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


@given(st.floats(0.05, 10), st.booleans())
def test_the_budget_of_a_margin_buys_it(margin, lora):
    family = choose(b.QWEN, lora)
    assert family.margin(family.budget(margin)) == pytest.approx(margin, rel=0.01)


def test_outside_its_points_a_curve_goes_on_by_rule():
    """Half the first budget buys half its margin; past the end the slope of 2 in logarithms is cut to 1."""
    steep = CalibrationCurve("m", 10**8, False, "x", "own", ((1e-4, 1.0, 0.6), (2e-4, 4.0, 0.7)))
    assert steep.margin(5e-5) == pytest.approx(0.5)
    assert steep.margin(4e-4) == pytest.approx(8.0)
    assert steep.accuracy(5e-5) == pytest.approx(0.55)
    flat = CalibrationCurve("m", 10**8, False, "x", "own", ((1e-4, 1.0, None), (2e-4, 1.0, None)))
    assert flat.margin(8e-4) == pytest.approx(2.0)  # four times the budget: its root


def test_no_curve_for_models_of_another_scale_or_unknown_size():
    assert choose(870_000, False) is None
    assert choose(None, False) is None
    assert forecast(b.recipe("sft"), 100, b.QWEN).margin is None
    assert forecast(b.recipe("rloo", reward=[{"function": "countdown"}]), 100, b.QWEN).loss is None


def test_a_forecast_is_the_middle_of_the_curves_and_its_range_holds_them():
    """1 and 4 nats at 1e-3: their geometric mean is 2; the range goes half a factor further, 0.67 to 6."""
    slow = CalibrationCurve("a", 100_000_000, True, "chat", "own", ((1e-3, 1.0, 0.6), (1e-2, 3.0, 0.7)))
    fast = CalibrationCurve("b", 200_000_000, True, "rules", "own", ((1e-3, 4.0, 0.8), (1e-2, 9.0, 0.9)))
    far = CalibrationCurve("c", 70_000_000_000, True, "chat", "own", ((1e-3, 9.0, 0.6),))
    found = choose(150_000_000, True, known=[slow, fast, far, PUBLIC]).expect(1e-3)
    assert (found.low, found.middle, found.high) == pytest.approx((1 / 1.5, 2.0, 6.0))
    assert found.accuracy == pytest.approx(0.7)
    only = choose(150_000_000, True, like="rules", known=[slow, fast, PUBLIC]).expect(1e-3)
    assert (only.middle, only.source) == (pytest.approx(4.0), "b on rules")
    with pytest.raises(UserError, match=r"check\.like: no curve of 'rule'; did you mean 'rules'"):
        choose(150_000_000, True, like="rule", known=[slow, fast])


def test_only_runs_on_the_same_pairs_are_evidence():
    """One curve on pairs of the hub, one on a model's own answers; nothing is borrowed between them."""
    hub = CalibrationCurve("a", 10**8, True, "hub", "own", ((1e-3, 1.0, None),), frozenset({"org/pairs"}))
    own = b.replace(
        hub, data="own", points=((1e-3, 4.0, None),), pairs=frozenset({"sha256:1"}), own_answers=True
    )

    def expected(model, *pairs):
        family = choose(10**8, True, trained=(model, pairs), known=[hub, own])
        return family and family.expect(1e-3).middle

    assert expected("b", "org/pairs") == pytest.approx(1.0)
    assert expected("a", "sha256:1") == pytest.approx(4.0)
    assert expected("b", "sha256:1") is None  # for b they are another model's answers
    assert expected("a", "sha256:2") is None
    assert expected("a") is None


def test_the_demo_is_forecast_for_its_own_model_only():
    file = str(ROOT / "src" / "boresight" / "data" / "demo" / "pairs.jsonl.gz")
    settings = ("model.lora={}", "optim.lr=2e-4", "train.batch=8", "check.like=demo")
    own = forecast(b.recipe("dpo", *settings, data={"train": file}), 30, 134_515_008)
    other = forecast(
        b.recipe("dpo", *settings, data={"train": file}, model={"name": "Qwen/Qwen2.5-0.5B"}), 30, b.QWEN
    )
    assert 1.0 < own.margin.middle < 2.5 and own.elsewhere is None
    assert other.margin is None and other.loss is None
    assert other.elsewhere.source == "starter on demo"


def test_sources_of_pairs(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text("{}\n")
    digest = hashlib.sha256(b"{}\n").hexdigest()
    assert pair_sources(str(file)) == {digest_name(digest)} == {f"sha256:{digest}"}
    assert pair_sources("org/pairs-1.5@test") == {"org/pairs-1.5"}
    for unknown in ("nowhere.jsonl", str(tmp_path), "./nowhere/pairs"):
        assert pair_sources(unknown) == frozenset()


@pytest.mark.parametrize("lora", [False, True])
def test_every_measured_point_lies_in_the_range_of_its_forecast(lora):
    for curve in (c for c in calibration_curves() if c.lora == lora):
        for budget, margin, _ in curve.points:
            found = choose(curve.parameters, lora).expect(budget)
            assert margin <= 0 or found.low <= margin <= found.high, curve.data


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
    (curve,) = calibration_curves(file)
    assert curve.measured("starter", ["HuggingFaceH4/ultrafeedback_binarized"])
    assert curve.points == ((5e-5, 1.0, 0.6), (1e-4, 2.0, 0.7))
    assert curve.parameters == 134_515_008
