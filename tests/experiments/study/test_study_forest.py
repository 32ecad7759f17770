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
    LEFT,
    RIGHT,
    WIDTH,
    Forest,
    ForestGroup,
    ForestRow,
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
    """Reach 0.2 · 1.08: zero in the middle, 0.1 as far to the right of it as -0.1 to the left."""
    up = ForestRow("online <DPO>", Interval(0.1, 0.0, 0.2, 400), "better", 0.05)
    down = ForestRow("RLOO", Interval(-0.1, -0.2, 0.05, 400), "undecided", 0.05)
    svg = drawn(ForestGroup("Online?", [up]), ForestGroup("Reward?", [down]), ForestGroup("none", []))
    middle, half = (LEFT + WIDTH - RIGHT) / 2, (WIDTH - LEFT - RIGHT) / 2
    points = [float(c.get("cx")) for c in svg.iter(f"{SVG}circle")]
    assert points == pytest.approx([middle + half / 2.16, middle - half / 2.16], abs=0.1)
    bands = [each for each in svg.iter(f"{SVG}rect") if each.get("width") != "100%"]
    assert [float(band.get("width")) for band in bands] == pytest.approx([2 * half / 4.32] * 2, abs=0.2)
    paths = [each.get("d") for each in svg.iter(f"{SVG}path")]
    lines = [tuple(map(float, found.groups())) for d in paths if (found := re.match(r"M(\S+) \S+H(\S+)", d))]
    assert lines[0] == pytest.approx((middle, middle + half / 1.08), abs=0.1)
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


def test_plots_of_one_unit_share_an_axis_and_others_keep_theirs():
    """0.1 with limits to 0.2 beside 0.4: the reach is 0.4 · 1.08 in both, and 3 words are not shares."""
    half = (WIDTH - LEFT - RIGHT) / 2
    near, far, words = (
        Forest(
            str(x), [ForestGroup("", [ForestRow("a", Interval(x, x, most, 400), "better")])], unit_named(unit)
        )
        for x, most, unit in ((0.1, 0.2, "share"), (0.4, 0.4, "share"), (3.0, 3.0, "words"))
    )
    first, missing, second, third = on_one_scale([near, None, far, words])
    assert missing is None
    for forest, at in ((first, 0.1 / 0.432), (second, 0.4 / 0.432), (third, 1 / 1.08)):
        (point,) = ET.fromstring(forest.file).iter(f"{SVG}circle")
        assert float(point.get("cx")) == pytest.approx(LEFT + half + half * at, abs=0.1)


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
