"""Curves as SVG."""

import xml.etree.ElementTree as ET

from boresight.experiments.study.plan import PlannedFigure
from boresight.experiments.study.report.figures import (
    ArmCurve,
    DrawnFigure,
    SeedLine,
    mean_line,
    smoothed,
    standalone,
    study_plot,
)


def test_the_mean_takes_steps_that_all_seeds_have():
    """Steps 1 and 2 are shared: means (1 + 3) / 2 and (2 + 6) / 2."""
    lines = [SeedLine([1, 2, 3], [1.0, 2.0, 9.0]), SeedLine([1, 2], [3.0, 6.0])]
    assert mean_line(lines) == ([1, 2], [2.0, 4.0])


def test_smoothing_keeps_a_straight_line_and_short_series():
    """24 points reach two to either side: the mean of i-2 to i+2 is i; at the start that of 0, 1, 2 is 1."""
    straight = [float(n) for n in range(24)]
    assert smoothed(straight)[2:-2] == straight[2:-2]
    assert smoothed(straight)[0] == 1.0
    assert smoothed([1.0, 9.0, 1.0]) == [1.0, 9.0, 1.0]


def test_a_flat_curve_is_drawn_and_titles_are_escaped():
    figure = PlannedFigure(title="a < b", metric="loss", arms=["x"], guide={"at": 0.5, "label": "<script>"})
    curves = [ArmCurve("x & y", "run-1", [SeedLine([1, 2], [0.5, 0.5])])]
    drawn = DrawnFigure("f", figure, curves, [])
    root = ET.fromstring(standalone(drawn))  # well-formed, so nothing got through
    assert root.findtext("{http://www.w3.org/2000/svg}title") == "a < b"
    assert "<script>" not in study_plot(figure, curves).svg
    ET.fromstring(drawn.plot.svg)
