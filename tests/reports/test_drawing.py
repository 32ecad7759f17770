"""Scales, labels of findings and drawings, from given numbers."""

import math
import xml.etree.ElementTree as ET

import pytest

from boresight.reports.drawing.finding_labels import NARROWEST, finding_labels
from boresight.reports.drawing.plot import Plot, PlotLine
from boresight.reports.drawing.scales import PlotScale, log_ticks, named_scale, scale_of, tick_texts, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 20, [0, 5, 10, 15, 20]), (0.68, 0.70, [0.68, 0.685, 0.69, 0.695, 0.7]), (-3, 3, [-2, 0, 2])],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.05, 30, [0.1, 0.3, 1, 3, 10, 30]), (1, 40, [1, 2, 5, 10, 20]), (1.1, 1.9, []), (1e-9, 1e9, None)],
)
def test_ticks_of_a_logarithmic_axis(low, high, expected):
    found = log_ticks(low, high)
    assert len(found) <= 6
    if expected is not None:
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.0, 5e-5, 1e-4, 1.5e-4], ["0", "5e−5", "1e−4", "1.5e−4"]),
        ([-0.5, 0.0, 0.5], ["−0.5", "0.0", "0.5"]),
        ([0.0, 2000.0, 4000.0], ["0", "2,000", "4,000"]),
        ([0.01, 0.1, 1.0, 10.0], ["0.01", "0.1", "1", "10"]),
        ([1.0], ["1"]),
    ],
)
def test_numbers_of_an_axis(values, texts):
    assert tick_texts(values) == texts


def test_a_scale_holds_its_values_with_air_and_shares_stay_shares():
    assert (scale_of([0.0, 1.0]).low, scale_of([0.0, 1.0]).high) == pytest.approx((-0.06, 1.06))
    assert (scale_of([0.0, 1.0], is_share=True).low, scale_of([0.0, 1.0], is_share=True).high) == (0, 1)
    assert scale_of([0.5]).at(0.5) == pytest.approx(0.5)
    assert scale_of([0.0, 5.0], "log").kind == "linear", "0 has no place on a logarithmic axis"
    assert scale_of([1.0, 100.0], "log").at(10.0) == pytest.approx(0.5)
    assert [text for _, text in scale_of([0.0, 1.0], is_share=True).marks()][-1] == "100\u00a0%"
    assert named_scale(["a", "b"]).marks() == [(0.0, "a"), (1.0, "b")]


@pytest.mark.parametrize(
    "places",
    [
        {0.5: [1], 0.501: [2], 0.502: [3, 4], 0.9: [5]},
        {0.0: [1, 2, 3], 0.01: [4], 1.0: [5], 0.99: [6]},
        {i / 50: [i] for i in range(51)},
    ],
)
def test_numbers_of_findings_never_overlap(places):
    """On the narrowest plot, in any two labels of a row; every finding is there once."""
    labels = finding_labels(places)
    assert [label.text for label in labels] == [", ".join(map(str, n)) for _, n in sorted(places.items())]
    spans = []
    for label in labels:
        center = label.at * NARROWEST
        spans.append((label.row, center - label.width / 2, center + label.width / 2))
    for row, left, right in spans:
        others = [span for span in spans if span != (row, left, right) and span[0] == row]
        assert all(end <= left or start >= right for _, start, end in others)
    assert finding_labels({0.2: [1], 0.8: [2]})[1].row == 0


def plot(**changes):
    shown = {
        "title": "a < b", "x_axis": "step", "y_axis": "nats", "x": PlotScale(0, 10), "y": PlotScale(0, 1),
        "lines": [PlotLine("<b>", "run-1", [0, 10], [0.25, 0.75], mode="both", low=[0, 0.5], high=[0.5, 1])],
    }  # fmt: skip
    return Plot(**(shown | changes))


def test_a_drawing_names_its_axes_and_escapes_its_text():
    svg = ET.fromstring(plot(guide=(0.5, "<script>"), findings={3: [1], 3.01: [2]}).svg)
    texts = ["".join(text.itertext()) for text in svg.iter("text")]
    assert {"step", "nats", "<script>", "1", "2"} <= set(texts)
    assert svg.get("aria-label") == "a < b, nats, by step. <b>: 0.25 at 0, 0.75 at 10."
    assert "M0,750 1000,250" in [path.get("d") for path in svg.iter("path")]


def test_a_single_point_is_a_dot_and_rows_of_findings_have_room():
    svg = ET.fromstring(plot(lines=[PlotLine("x", "after", [5], [0.5])]).svg)
    assert "M500,500h0" in [path.get("d") for path in svg.iter("path")]
    assert plot(findings={i / 10: [i] for i in range(9)}).height > plot(findings={1: [1]}).height
    assert "nan" not in plot(lines=[PlotLine("x", "after", [0, 1], [0.1, math.pi])]).svg
