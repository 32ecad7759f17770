"""The curve, its inverse, and adding a run's own points."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight import methods
from boresight.checks.forecast.bf16 import movable_share, share_of_normal, smallest_that_stays
from boresight.checks.forecast.calibration import (
    SMALLEST_MODEL,
    CalibrationCurve,
    calibration_curves,
    choose,
)
from boresight.checks.forecast.expectation import BORROWED, Elsewhere, Expectation
from boresight.checks.forecast.forecast import (
    curve_in_words,
    forecast,
    learning_rate_budget,
    learning_rate_too_high,
    over_optimization_ahead,
    ways_to,
)
from boresight.checks.forecast.pair_sources import digest_name, pair_sources
from boresight.checks.run.method import MethodSetting, few_rollouts, few_steps
from boresight.core.errors import UserError
from boresight.training.build import batch_plan
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
    """1 and 1.5 nats at 1e-3: their geometric mean is 1.22; a factor of 16 further lie 0.0625 and 24."""
    slow = CalibrationCurve("a", 100_000_000, True, "chat", "own", ((1e-3, 1.0, 0.6), (1e-2, 3.0, 0.7)))
    fast = CalibrationCurve("b", 200_000_000, True, "rules", "own", ((1e-3, 1.5, 0.8), (1e-2, 9.0, 0.9)))
    far = CalibrationCurve("c", 70_000_000_000, True, "chat", "own", ((1e-3, 9.0, 0.6),))
    found = choose(150_000_000, True, known=[slow, fast, far, PUBLIC]).expect(1e-3)
    assert (found.low, found.middle, found.high) == pytest.approx((1 / 16, math.sqrt(1.5), 24.0))
    assert found.borrowed and found.accuracy == pytest.approx(0.7)
    only = choose(150_000_000, True, like="rules", known=[slow, fast, PUBLIC]).expect(1e-3)
    assert (only.middle, only.source) == (pytest.approx(1.5), "dpo runs of b on rules")
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


@pytest.mark.parametrize(
    ("model", "method", "ends", "source"),
    [
        ("a", "dpo", (1.0 / 2.5, 1.0, 2.5), "earlier dpo runs of a on chat"),
        ("a", "ipo", (1.0 / 16, 2.0, 30.0), "dpo runs of a and b on chat"),
        ("c", "dpo", (1.0 / 16, 2.0, 30.0), "dpo runs of a and b on chat"),
    ],
)
def test_runs_of_the_same_model_stand_alone_and_those_of_others_are_borrowed(model, method, ends, source):
    """On one set of pairs a stands at 1 nat and b at 4: 1 within 2.5 for a; for others √4 within 16."""
    a = CalibrationCurve("a", 10**8, True, "chat", "own", ((1e-3, 1.0, None),), frozenset({"p"}))
    other = b.replace(a, model="b", points=((1e-3, 4.0, None),))
    found = choose(10**8, True, trained=(model, ["p"]), method=method, known=[a, other]).expect(1e-3)
    assert (found.low, found.middle, found.high) == pytest.approx(ends)
    assert found.source == source and found.borrowed == (model != "a" or method != "dpo")
    assert found.basis.startswith("borrowed from" if found.borrowed else "by earlier dpo runs")


def test_the_demo_is_forecast_for_its_own_model_only():
    file = str(ROOT / "src" / "boresight" / "data" / "demo" / "pairs.jsonl.gz")
    settings = ("model.lora={}", "optim.lr=2e-4", "train.batch=8", "check.like=demo")
    own = forecast(b.recipe("dpo", *settings, data={"train": file}), 30, 134_515_008)
    other = forecast(
        b.recipe("dpo", *settings, data={"train": file}, model={"name": "Qwen/Qwen2.5-0.5B"}), 30, b.QWEN
    )
    assert 1.0 < own.margin.middle < 2.5 and own.elsewhere is None and not own.margin.borrowed
    assert other.margin is None and other.loss is None
    assert (other.elsewhere.source, other.elsewhere.declared) == ("dpo runs of starter on demo", "demo")
    reached = 24.0  # by Qwen2.5-Coder-0.5B
    assert other.elsewhere.fastest == pytest.approx(reached / BORROWED, rel=0.05)
    assert other.elsewhere.ends[0] < reached < other.elsewhere.ends[1]


def test_a_name_that_no_pairs_have_is_refused_where_the_pairs_are_known_too():
    with pytest.raises(UserError, match=r"check\.like: no curve of 'Ultra'"):
        forecast(b.recipe("dpo", "check.like=Ultra"), 100, b.QWEN)


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


# Findings of a forecast ---------------------------------------------------------------------------------


def forecast_of(*settings, margin=None, elsewhere=None, loss=None, steps=100, **more):
    """A forecast of DPO with the expectations given, at a budget of 1e-4."""
    recipe = b.recipe("dpo", *settings, data={"train": "none"})
    given = {"margin": margin, "elsewhere": elsewhere, "loss": loss, "budget": 1e-4, "wanted": 1e-3}
    return b.replace(forecast(recipe, steps, b.QWEN, frozenset()), steps=steps, **(given | more))


def bought(middle, low=0.1, high=9.0, accuracy=None, borrowed=False):
    return Expectation(low, middle, high, accuracy, "runs of m on d", borrowed)


def severity(check, *args, **more):
    found = check(forecast_of(*args, **more))
    return found and found.severity


@pytest.mark.parametrize(
    ("lr", "expected"), [("4.9e-5", None), ("5e-5", "warning"), ("9.9e-5", "warning"), ("1e-4", "error")]
)
def test_a_rate_from_half_of_what_is_too_high(lr, expected):
    """Full training on preferences falls apart from 1e-4 on; the highest published rate is 5e-6."""
    assert severity(learning_rate_too_high, f"optim.lr={lr}") == expected


def test_what_is_too_high_is_known_for_models_of_the_measured_sizes():
    settings = ("optim.lr=1e-4",)
    assert severity(learning_rate_too_high, *settings, parameters=None) is None
    assert severity(learning_rate_too_high, *settings, parameters=SMALLEST_MODEL - 1) is None
    found = learning_rate_too_high(forecast_of(*settings, parameters=SMALLEST_MODEL))
    said = "is 20 times the highest usual one (5e-06, borrowed from published runs up to 1B and not measured"
    assert said in found.why and found.numbers == (("lr", 1e-4),)


LOSS = (0.693, 0.692, 0.690, 0.688)


@pytest.mark.parametrize(
    ("middle", "steps", "expected"),
    [
        (0.49, 20, "error"),
        (0.49, 19, "warning"),
        (0.5, 20, "warning"),
        (0.99, 20, "warning"),
        (1.0, 20, None),
    ],
)
def test_a_budget_that_buys_less_than_a_nat(middle, steps, expected):
    assert severity(learning_rate_budget, margin=bought(middle), loss=LOSS, steps=steps) == expected
    assert severity(learning_rate_budget, margin=bought(middle), loss=LOSS, steps=steps, wanted=None) is None


def test_a_small_budget_in_words():
    """100 steps at batch 64. A sum of 1e-3 is 10 times as much."""
    found = learning_rate_budget(forecast_of(margin=bought(0.25, accuracy=0.55), loss=LOSS))
    assert found.why == (
        "The learning rates sum to 1.0e-04 over 100 steps, which yields a margin of about 0.25 nats "
        "(0.1 to 9) and accuracy about 0.55, by runs of m on d: expect a flat curve, "
        "the loss going from 0.693 to 0.690 (0.692 to 0.688)."
    )
    assert found.fix.startswith("Reach a sum of 1.0e-03, 10 times as much: ")
    assert dict(found.numbers) == {"budget": 1e-4, "margin": 0.25, "wanted": 1e-3}
    assert " and accuracy" not in learning_rate_budget(forecast_of(margin=bought(0.25), loss=LOSS)).why


@pytest.mark.parametrize(("high", "expected"), [(0.49, "error"), (0.5, "warning"), (9.0, "warning")])
def test_a_borrowed_margin_stops_a_run_only_where_its_whole_range_is_too_small(high, expected):
    borrowed = bought(0.25, high=high, borrowed=True)
    assert severity(learning_rate_budget, margin=borrowed, loss=LOSS) == expected
    found = learning_rate_budget(forecast_of(margin=borrowed, loss=LOSS))
    assert "borrowed from runs of m on d, not measured with your model on your pairs: expect" in found.why
    assert found.fix.endswith("; `boresight check RECIPE --probe` measures your own.")


@pytest.mark.parametrize(
    ("fastest", "expected"), [(0.024, "warning"), (0.026, "note"), (0.99, "note"), (1.0, None)]
)
def test_a_budget_that_has_bought_less_than_a_nat_elsewhere(fastest, expected):
    assert severity(learning_rate_budget, elsewhere=Elsewhere(0.2, fastest, "runs of m on d")) == expected
    assert severity(learning_rate_budget, elsewhere=None) is None


@pytest.mark.parametrize(
    ("declared", "pairs"),
    [(None, "other pairs"), ("d", "d, which check.like declares your pairs to be like,")],
)
def test_what_was_bought_elsewhere_is_borrowed_or_declared_in_words(declared, pairs):
    """Around 0.2 to 0.5 nats, a factor of 40 is 0.005 to 20, and one of 16 is 0.0125 to 8."""
    elsewhere = Elsewhere(0.2, 0.5, "runs of m on d", declared)
    found = learning_rate_budget(forecast_of(elsewhere=elsewhere))
    assert found.why.endswith(
        f"; on {pairs} this sum yielded a margin of at most 0.5 nats (borrowed from runs of m on d). On "
        "yours nothing was measured."
    )
    assert elsewhere.ends == pytest.approx((0.0125, 8.0) if declared else (0.005, 20.0))
    assert Elsewhere(2.0, 2.0, "").bought == "2 nats"


@pytest.mark.parametrize(("middle", "expected"), [(19.9, None), (20.0, "warning")])
def test_a_budget_that_buys_too_much(middle, expected):
    assert severity(over_optimization_ahead, margin=bought(middle)) == expected
    assert severity(over_optimization_ahead, margin=None) is None


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (
            (0.8, 0.79, 0.7601, 0.7),
            "expect a flat curve, the loss going from 0.800 to 0.760 (0.790 to 0.700)",
        ),
        ((0.8, 0.79, 0.76, 0.7), "the loss goes from 0.800 to 0.760 (0.790 to 0.700)"),
        (
            (2500.0, 2492.0, 2400.0, 2300.0),
            "expect a flat curve, the loss going from 2500 to 2400 (2492 to 2300)",
        ),
        ((10.0, 9.0, 8.0, 7.0), "the loss goes from 10 to 8 (9 to 7)"),
        ((9.0, 8.0, 7.0, 6.0), "the loss goes from 9.000 to 7.000 (8.000 to 6.000)"),
    ],
)
def test_a_curve_is_flat_below_a_twentieth(loss, words):
    assert curve_in_words(forecast_of(margin=bought(1.0), loss=loss)) == words


def test_ways_to_a_sum_of_rates():
    """A budget of 1e-4 in 100 steps at peak 2e-6 is half the peak a step. At 5e-6, the highest published,
    1e-3 takes 1e-3 / 2.5e-6 = 400 steps, 25,600 pairs at batch 64."""
    assert ways_to(forecast_of(), 1e-3).endswith(
        "; at lr 5e-06 that takes 400 steps (25,600 pairs at batch 64)"
    )
    assert "takes 401 steps" in ways_to(forecast_of(), 1.0001e-3)


def test_a_budget_for_three_nats_is_what_is_wanted():
    """The sum of rates at which the curves of these pairs stand at 3 nats."""
    recipe = b.recipe("dpo")
    family = choose(b.QWEN, False, trained=(recipe.model.name, pair_sources(recipe.data.train)))
    assert family.margin(forecast(recipe, 900, b.QWEN).wanted) == pytest.approx(3.0, rel=2e-3)


def test_one_step_is_not_one_steps():
    optim = SimpleNamespace(warmup=0.1)
    setting = SimpleNamespace(
        steps=1,
        rows=None,
        recipe=SimpleNamespace(optim=optim, train=SimpleNamespace(steps=None, epochs=None)),
    )
    assert few_steps(setting).why == "The run has 1 optimizer step; warm-up takes 0.1."
    assert ways_to(forecast_of(), 1e-6).endswith("that takes 1 step (64 pairs at batch 64)")  # 1e-6 / 2.5e-6


def test_the_only_step_of_sampled_answers_is_in_the_singular():
    """A batch of 64 prompts with k answers each is the whole run."""
    recipe = b.recipe("rloo", reward=[{"function": "countdown"}])
    drawn = f"{64 * recipe.rollout.k:,}"
    why = few_rollouts(MethodSetting(recipe, methods.get("rloo"), None, 1)).why
    assert why.startswith(f"The run draws {drawn} answers in 1 rollout of {drawn};")


def test_answers_are_counted_once_though_several_updates_use_them():
    """120 steps of 4 updates a rollout are 30 rollouts of 16 prompts with 8 answers each: 3,840."""
    settings = {"rollout": {"k": 8, "updates": 4}, "train": {"batch": 16}}
    recipe = b.recipe("rloo", reward=[{"function": "countdown"}], **settings)
    found = few_rollouts(MethodSetting(recipe, methods.get("rloo"), None, 120))
    assert found.count == 3840 and "3,840 answers in 30 rollouts of 128;" in found.why


@pytest.mark.parametrize("rows", [1, 31, 33, 96, 240, 961])
@pytest.mark.parametrize("epochs", [0.3, 1.0, 2.0])
def test_the_epochs_of_few_steps_are_the_fewest_that_make_30_steps(rows, epochs):
    """33 rows at a batch of 32: 29 epochs are 957 rows, 29 batches and one of 29 rows; two steps of one epoch
    times 15 would be 16 steps."""
    recipe = b.recipe("dpo", "train.batch=32", f"train.epochs={epochs}")
    steps = batch_plan(recipe, rows).steps
    found = few_steps(MethodSetting(recipe, methods.get("dpo"), steps=steps, rows=rows))
    if steps >= 30:
        assert found is None
        return
    enough = int(dict(found.numbers)["epochs"])
    made = [
        batch_plan(recipe.changed([f"train.epochs={n}"]), rows).steps for n in (enough - 1 or 0.01, enough)
    ]
    assert made[0] < 30 <= made[1]
    assert f"train.epochs={enough} " in found.fix
