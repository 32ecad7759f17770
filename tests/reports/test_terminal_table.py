"""The table that ends a run in the terminal: brackets of intervals are no markup, on any console."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from boresight.core.console import Terminal
from boresight.reports.tables.terminal import evaluation_table
from boresight.stats.paired import paired_metric


@pytest.mark.parametrize("console", [Console, Terminal])
def test_intervals_and_labels_are_printed_as_they_are(console):
    before, after = ({str(i): value + i / 100 for i in range(9)} for value in (0.0, 1.0))
    metric = paired_metric("margin", "margin [/b] of chosen", "nats", "higher", before, after)
    said = io.StringIO()
    console(file=said, width=120).print(evaluation_table([metric]))
    line = next(line for line in said.getvalue().split("\n") if "margin" in line)
    assert "margin [/b] of chosen" in line and "0.040 [0.019, 0.061]" in line
    assert "+1.000 [+1.000, +1.000]" in line
    assert "\\" not in said.getvalue() and "green" not in said.getvalue()


def test_a_resolved_change_has_a_color():
    before, after = ({str(i): value + i / 100 for i in range(9)} for value in (0.0, 1.0))
    for better, color in (("higher", "green"), ("lower", "red")):
        table = evaluation_table([paired_metric("x", "x", "nats", better, before, after)])
        assert [cell.style for cell in table.columns[3].cells] == [color]
