"""Curves over the sum of learning rates, by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from boresight.checks.forecast.calibration import (
    FILE,
    SMALLEST_MODEL,
    CalibrationCurve,
    Family,
    calibration_curves,
    choose,
)
from boresight.checks.forecast.expectation import BORROWED, LARGEST_MARGIN, RUN_TO_RUN


def curve(*points, **more):
    return CalibrationCurve(
        **{"model": "m", "parameters": 10**8, "lora": True, "data": "d", "source": "s", "points": points}
        | more
    )


def test_between_points_it_is_a_straight_line_in_logarithms():
    """From 1e-4 to 1e-2 the margin grows from 1 to 4; 1e-3 is half of the way in factors of ten: 4^(1/2)."""
    found = curve((1e-4, 1.0, 0.6), (1e-2, 4.0, 0.8), (4e-2, 4.0, 0.7))
    assert found.margin(1e-3) == pytest.approx(2.0) and found.margin(2e-2) == pytest.approx(4.0)
    assert (found.margin(1e-4), found.margin(1e-2)) == pytest.approx((1.0, 4.0))
    assert found.accuracy(1e-3) == pytest.approx(0.7) and found.accuracy(2e-2) == pytest.approx(0.75)
    assert found.accuracy(1e-4) == pytest.approx(0.6) and found.accuracy(1.0) == 0.7


def test_below_the_first_point_accuracy_falls_to_one_half():
    """A tenth of the budget leaves a tenth of the lead. One that starts below one half has no lead."""
    assert curve((1e-3, 1.0, 0.7), (1e-2, 4.0, 0.8)).accuracy(1e-4) == pytest.approx(0.52)
    assert curve((1e-3, 1.0, 0.4), (1e-2, 4.0, 0.8)).accuracy(1e-4) == 0.5
    assert curve((1e-3, 1.0, None)).accuracy(1e-3) is None


def test_beyond_the_last_point():
    """One point alone goes on in proportion, no margin is above 30 nats, and one of 0 or less is no point."""
    assert curve((1e-3, 1.0, None)).margin(4e-3) == pytest.approx(4.0)
    assert curve((1e-3, 1.0, None)).margin(2.5e-4) == pytest.approx(0.25)
    assert curve((1e-3, 1.0, None)).margin(1.0) == LARGEST_MARGIN == 30.0
    assert curve((1e-3, 1.0, None), (1e-2, 100.0, None)).margin(9e-3) == 30.0
    assert curve((1e-4, -0.5, None), (5e-4, 0.0, None), (1e-3, 1.0, None)).margin(2e-3) == pytest.approx(2.0)
    slow = curve((1e-4, 1.0, None), (1e-2, 1.1, None))
    assert slow.margin(4e-2) == pytest.approx(2.2)  # its slope is below a root's
    usual = curve((1e-4, 1.0, None), (1e-3, 10**0.75, None))
    assert usual.margin(4e-3) == pytest.approx(40**0.75)


def test_the_budget_of_a_margin_to_a_thousandth():
    family = Family((curve((1e-3, 1.0, None)),))
    assert family.budget(2.0) == pytest.approx(2e-3, rel=1.5e-3) and family.margin(family.budget(2.0)) >= 2.0
    assert family.budget(1e-5) == pytest.approx(1e-8, rel=2e-3) and family.budget(29.0) < 10.0


def test_a_family_says_where_it_is_from_and_stays_below_the_largest_margin():
    """1 and 25 nats: the middle is 5, the range 1 / 16 to 400, cut at 30. One accuracy is not known."""
    family = Family((curve((1e-3, 1.0, 0.6)), curve((1e-3, 25.0, None), model="n")))
    found = family.expect(1e-3)
    assert (found.low, found.middle, found.high) == pytest.approx((1 / 16, 5.0, 30.0))
    assert found.accuracy == pytest.approx(0.6) and found.source == "dpo runs of m and n on d"


def test_models_up_to_four_times_further_than_the_nearest_count():
    """From 1e8 the nearest is 2 times away, so 8 times away counts and 8.1 does not."""
    known = [
        curve((1e-3, 1.0, None), parameters=int(n * 1e8), model=str(n)) for n in (2, 8, 8.1, 1 / 8, 1 / 8.1)
    ]
    assert [c.model for c in choose(10**8, True, known=known).curves] == ["2", "8", "0.125"]


def test_the_smallest_model_and_the_kind_of_training():
    known = [curve((1e-3, 1.0, None), parameters=SMALLEST_MODEL)]
    assert choose(SMALLEST_MODEL, True, known=known) is not None
    assert choose(SMALLEST_MODEL - 1, True, known=known) is None
    assert choose(SMALLEST_MODEL, False, known=known) is None
    assert choose(SMALLEST_MODEL, True, known=[]) is None


def test_like_takes_one_set_of_pairs():
    known = [curve((1e-3, 1.0, None)), curve((1e-3, 2.0, None), data="other")]
    assert [c.data for c in choose(10**8, True, like="other", known=known).curves] == ["other"]


def test_runs_of_one_model_are_pooled_and_near_points_averaged(tmp_path):
    """1e-3 and 1.04e-3 are within 5 % and become their means; 1.06e-3 is a point of its own."""
    line = {"model": "m", "parameters": 10**8, "lora": True, "data": "d", "pairs": ["p"], "source": "one"}
    one = line | {"points": [[1.06e-3, 3.0, 0.7], [1e-3, 1.0, 0.6]]}
    two = line | {"source": "two", "pairs": ["q"], "own_answers": True, "points": [[1.04e-3, 2.0, None]]}
    other = line | {"lora": False, "points": [[1e-3, 1.0, None]]}
    file = tmp_path / "curves.jsonl"
    file.write_text("\n\n".join(json.dumps(raw) for raw in (one, two, other)) + "\n")
    pooled, alone = calibration_curves(file)
    assert pooled.points == ((pytest.approx(1.02e-3), 1.5, 0.6), (1.06e-3, 3.0, 0.7))
    assert (pooled.source, pooled.pairs, pooled.own_answers) == ("one; two", frozenset("pq"), True)
    assert (alone.lora, alone.own_answers, alone.points) == (False, False, ((1e-3, 1.0, None),))


def test_a_curve_without_a_margin_above_0_is_not_used(tmp_path):
    line = {"model": "m", "parameters": 10**8, "lora": True, "data": "d", "pairs": ["p"], "source": "one"}
    flat = line | {"points": [[1e-3, 0.0, 0.5], [2e-3, -0.4, 0.4]]}
    file = tmp_path / "curves.jsonl"
    file.write_text(
        "".join(json.dumps(raw) + "\n" for raw in (flat, line | {"data": "e", "points": [[1e-3, 1.0, None]]}))
    )
    assert [one.data for one in calibration_curves(file)] == ["e"]


def test_evidence_is_of_the_same_pairs_and_own_answers_of_the_same_model():
    hub = curve((1e-3, 1.0, None), pairs=frozenset({"p"}))
    own = replace(hub, own_answers=True)
    assert hub.measured("other", {"p", "q"}) and not hub.measured("m", {"q"})
    assert own.measured("m", {"p"}) and not own.measured("other", {"p"})


# What the ranges rest on: every curve forecast without itself -------------------------------------------

RESOLVED = 0.1
"""Nats; smaller margins of 60 to 100 pairs are noise as much as signal."""


def beyond(family, points):
    """Factors by which points lie outside what the curves of a family say, 1 for those within."""
    for budget, margin, _ in (point for point in points if point[1] >= RESOLVED):
        each = [one.margin(budget) for one in family.curves]
        yield max(1.0, margin / max(each), min(each) / margin)


def test_what_borrowed_curves_have_missed_by():
    """Every curve from those on other data sets, and from other models on its own.

    The worst of these is the demo from real chats, 6.1. The run on foreign data missed by more: 24 nats where
    the starter's curve says 1.5.
    """
    curves = calibration_curves()
    missed = {}
    for one in curves:
        alike = [c for c in curves if c.lora == one.lora]
        others = {
            "pairs": [c for c in alike if c.data != one.data],
            "model": [c for c in alike if c.data == one.data and c.model != one.model],
        }
        for kind, known in others.items():
            if known:
                missed[kind, one.model, one.data, one.lora] = max(beyond(Family(tuple(known)), one.points))
    assert len(missed) == 9
    assert max(missed, key=missed.get) == ("pairs", "starter", "demo", True)
    assert max(missed.values()) == pytest.approx(6.1, abs=0.1)
    assert max(v for (kind, *_), v in missed.items() if kind == "model") == pytest.approx(3.1, abs=0.1)
    foreign = choose(494_032_768, True, like="demo")
    assert max(beyond(foreign, [(3.2e-3, 24.0, 0.75)])) == pytest.approx(BORROWED, rel=0.05)
    assert max(missed.values()) < BORROWED


def test_what_a_run_has_missed_its_model_s_other_runs_by(tmp_path):
    """Every line of the file from the others of its model on its pairs; one seed of four stands 2.5 below."""
    lines = [json.loads(line) for line in FILE.read_text().splitlines()]
    missed = []
    for held in lines:
        key = ("model", "lora", "data")
        rest = [raw for raw in lines if raw is not held and [raw[k] for k in key] == [held[k] for k in key]]
        if rest:
            file = tmp_path / "rest.jsonl"
            file.write_text("".join(json.dumps(raw) + "\n" for raw in rest))
            missed += beyond(Family(tuple(calibration_curves(file))), held["points"])
    assert max(missed) == pytest.approx(RUN_TO_RUN, abs=0.05)
