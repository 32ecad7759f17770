"""The forest plot of a study's questions."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from boresight.core.errors import UserError
from boresight.experiments.study.blocks import PlannedQuestion
from boresight.experiments.study.outcomes.questions import AnsweredQuestion
from boresight.experiments.study.plan import StudyPlan
from boresight.experiments.study.report.forest import (
    BOLD_CHARACTER,
    CHARACTER,
    GAP,
    LEAST,
    WIDTH,
    Forest,
    ForestGroup,
    ForestRow,
    frame_around,
    on_one_scale,
    questions_forest,
)
from boresight.stats.intervals import Interval
from boresight.stats.units import unit_named

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*groups):
    return ET.fromstring(Forest("Questions <b>", groups, unit_named("share")).file)


def texts(svg):
    return ["".join(each.itertext()) for each in svg.iter(f"{SVG}text")]


def test_points_limits_and_margins_lie_on_one_scale():
    """From -0.2 to 0.2 with 0.04 · 0.4 on both sides: zero in the middle, 0.1 at 0.1/0.216 of a half."""
    up = ForestRow("online <DPO>", Interval(0.1, 0.0, 0.2, 400), "better", 0.05)
    down = ForestRow("RLOO", Interval(-0.1, -0.2, 0.05, 400), "undecided", 0.05)
    svg = drawn(ForestGroup("Online?", [up]), ForestGroup("Reward?", [down]), ForestGroup("none", []))
    left = GAP + max(CHARACTER * len("online <DPO>"), BOLD_CHARACTER * len("Online?"))
    right = WIDTH - GAP - CHARACTER * len("-10.0 points [-20.0, 5.0] undecided")
    middle, half = (left + right) / 2, (right - left) / 2
    points = [float(c.get("cx")) for c in svg.iter(f"{SVG}circle")]
    assert points == pytest.approx([middle + half / 2.16, middle - half / 2.16], abs=0.1)
    bands = [each for each in svg.iter(f"{SVG}rect") if each.get("width") != "100%"]
    assert [float(band.get("width")) for band in bands] == pytest.approx([2 * half / 4.32] * 2, abs=0.2)
    paths = [each.get("d") for each in svg.iter(f"{SVG}path")]
    lines = [tuple(map(float, found.groups())) for d in paths if (found := re.match(r"M(\S+) \S+H(\S+)", d))]
    assert lines[0] == pytest.approx((middle, middle + half / 1.08), abs=0.1)
    assert svg.get("viewBox").split()[2] == str(WIDTH)
    said = texts(svg)
    assert said.index("Online?") < said.index("online <DPO>") < said.index("Reward?") < said.index("RLOO")
    assert "none" not in said and "points" in said and "Questions <b>" in said
    assert "+10.0 points [0.0, 20.0] better" in said and "0" in said and "\N{MINUS SIGN}10" in said


def test_limits_that_are_not_known_end_in_arrows():
    row = ForestRow("one seed", Interval(0.02, -math.inf, math.inf, 400), "undecided")
    svg = drawn(ForestGroup("q", [row, ForestRow("known", Interval(0.1, 0.05, 0.15, 400), "better")]))
    arrows = [each.get("d") for each in svg.iter(f"{SVG}path") if "L" in each.get("d")]
    assert len(arrows) == 2
    assert "nan" not in ET.tostring(svg, "unicode") and "inf" not in ET.tostring(svg, "unicode")


def one_row(label, value, high, unit):
    row = ForestRow(label, Interval(value, value, high, 400), "better")
    return Forest(label, [ForestGroup("", [row])], unit_named(unit))


def point(forest):
    (found,) = ET.fromstring(forest.file).iter(f"{SVG}circle")
    return float(found.get("cx"))


def test_plots_of_one_unit_and_test_share_an_axis_and_others_keep_theirs():
    """From 0 to 0.4 with 0.016 on both sides in the first two; 0.1 on other prompts, and words, alone."""
    near, far, elsewhere, words = (
        one_row("a", 0.1, 0.2, "share"),
        one_row("b", 0.4, 0.4, "share"),
        one_row("c", 0.1, 0.1, "share"),
        one_row("d", 3.0, 3.0, "words"),
    )
    first, missing, second, third, fourth = on_one_scale(
        [near, None, far, elsewhere, words], ["x", "x", "x", "y", "x"]
    )
    assert missing is None and first.frame == second.frame
    width = first.frame.right - first.frame.left
    assert point(first) == pytest.approx(first.frame.left + width * 0.116 / 0.432, abs=0.1)
    assert point(second) == pytest.approx(first.frame.left + width * 0.416 / 0.432, abs=0.1)
    assert (third.frame.low, third.frame.high) == pytest.approx((-0.004, 0.104))
    assert (fourth.frame.low, fourth.frame.high) == pytest.approx((-0.12, 3.12))


def test_long_names_widen_the_plot_instead_of_narrowing_the_axis():
    frame = frame_around([one_row("n" * 90, 0.1, 0.2, "share")])
    assert frame.right - frame.left == pytest.approx(LEAST) and frame.width > WIDTH
    assert frame.left > 90 * CHARACTER


def test_questions_of_several_units_have_no_one_scale():
    asked = {"of": "a", "to": "b", "margin": 1, "pool": ["a"]}
    several = [
        AnsweredQuestion(PlannedQuestion(title=unit, unit=unit, **asked), None) for unit in ("share", "words")
    ]
    plan = StudyPlan(title="t", groups={}, arms={})
    with pytest.raises(UserError, match="the units share, words on one scale"):
        questions_forest(plan, several)
    assert questions_forest(plan, several[:1]) is None and questions_forest(plan, []) is None


def test_a_difference_of_nothing_has_a_scale_too():
    drawn(ForestGroup("q", [ForestRow("same", Interval(0.0, 0.0, 0.0, 4), "undecided")]))
    with pytest.raises(ValueError, match="at least one row"):
        drawn(ForestGroup("q", []))
