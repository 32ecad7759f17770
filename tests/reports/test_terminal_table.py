"""The table that ends a run in the terminal: brackets of intervals are no markup, on any console."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from boresight.core.console import Terminal
from boresight.reports.tables.terminal import evaluation_table, reward_table
from boresight.stats.paired import paired_metric


@pytest.mark.parametrize("console", [Console, Terminal])
def test_intervals_and_labels_are_printed_as_they_are(console):
    before, after = ({str(i): value + i / 100 for i in range(9)} for value in (0.0, 1.0))
    metric = paired_metric("margin", "margin [/b] of chosen", "nats", "higher", before, after)
    said = io.StringIO()
    console(file=said, width=120).print(evaluation_table([metric]))
    line = next(line for line in said.getvalue().split("\n") if "margin" in line)
    assert line.split() == [
        "margin",
        "[/b]",
        "of",
        "chosen,",
        "nats",
        "0.040",
        "1.040",
        "+1.000",
        "[1.000,",
        "1.000]",
        "9",
    ]
    assert "\\" not in said.getvalue() and "green" not in said.getvalue()


def lines_of(table, width=80):
    said = io.StringIO()
    Console(file=said, width=width).print(table)
    return said.getvalue().splitlines()


def test_a_metric_is_one_line_of_80_columns():
    """0.5 to 0.75 of 400 prompts, 100 of which change: shares in percent, their difference in points."""
    prompts = range(400)
    before, after = ({str(i): float(i < most) for i in prompts} for most in (200, 300))
    metric = paired_metric("good", "answers that meet the constraint", "share", "higher", before, after)
    title, head, line = lines_of(evaluation_table([metric]))
    assert title.rstrip().endswith("differences with 95 % intervals; shares in points")
    assert head.split() == ["metric", "before", "after", "difference", "n"]
    assert re.fullmatch(
        r"answers that meet the constraint +50\.0 % +75\.0 % +\+25\.0 \[20\.\d, 29\.\d\] +400", line.rstrip()
    )
    named, _, by_name = lines_of(reward_table([metric], "dpo", "start"))
    assert named.startswith("dpo: ") and by_name == line
    _, _, alone = lines_of(reward_table([metric], "dpo", None))
    assert re.search(r" 75\.0 % \[70\.\d, 79\.\d\] +400", alone)


def test_what_was_not_measured_is_a_dash():
    measured = paired_metric("x", "x", "nats", "lower", {"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 3.0})
    metric = replace(measured, before=None, difference=None)
    *_, line = lines_of(evaluation_table([metric]))
    assert line.split() == ["x,", "nats", "-", "2.500", "-", "2"]


def test_a_metric_without_any_value_is_named_below_the_table():
    """A row of three dashes has nothing to read; the line below says which metric it would have been."""
    label = "answers that meet the constraint"
    found = paired_metric("x", label, "share", "higher", {"a": 0.0, "b": 1.0}, {"a": 1.0, "b": 1.0})
    nothing = [
        replace(found, name=name, label=name, before=None, after=None, difference=None)
        for name in ("reward [/b]", "accuracy")
    ]
    pair = evaluation_table([nothing[0], found, nothing[1]])
    for table in (pair, reward_table([*nothing, found], "dpo", None)):
        *_, head, line, below = lines_of(table)
        assert head.split()[0] == "metric" and line.startswith(label) and line.split()[-1] == "2"
        assert below.rstrip() == "not measured: reward [/b], accuracy"
    assert lines_of(evaluation_table([found])) == lines_of(pair)[:-1]


def test_a_resolved_change_has_a_color():
    before, after = ({str(i): value + i / 100 for i in range(9)} for value in (0.0, 1.0))
    for better, color in (("higher", "green"), ("lower", "red")):
        table = evaluation_table([paired_metric("x", "x", "nats", better, before, after)])
        assert [cell.style for cell in table.columns[3].cells] == [color]
