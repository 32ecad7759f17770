"""What progress prints: nothing, a bar that goes away, or a line now and then."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from boresight.core import console as module
from boresight.core.console import progress, progress_bar


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def printed(clock, label, total, done):
    """Lines after `done` items at each time, in seconds."""
    out = Console(file=io.StringIO(), width=80)
    with progress(out, label, total) as advance:
        for seconds, count in done:
            clock[0] = seconds
            advance(count)
    return out.file.getvalue().splitlines()


def test_lines_come_every_10_seconds_with_the_time_left(clock):
    lines = printed(clock, "rows", 4000, [(8, 500), (20, 500), (25, 500), (40, 500), (60, 2000)])
    assert lines == ["rows: 1,000/4,000  about 1 min left", "rows: 2,000/4,000  about 40 s left"]


def test_a_line_comes_only_when_the_number_has_changed(clock):
    """The sampler calls after every token, also while no answer has ended."""
    lines = printed(clock, "sampling", 4, [(11, 0), (22, 0), (33, 0), (44, 1), (55, 0), (66, 1)])
    assert lines == [
        "sampling: 0/4",
        "sampling: 1/4  about 2 min 12 s left",
        "sampling: 2/4  about 1 min 6 s left",
    ]


def test_before_the_first_item_and_without_a_total_nothing_is_estimated(clock):
    assert printed(clock, "[b]rows", 9, [(16, 0)]) == ["[b]rows: 0/9"]
    clock[0] = 0
    assert printed(clock, "rows", None, [(16, 2000)]) == ["rows: 2,000"]


def test_a_terminal_has_a_bar_that_disappears():
    out = Console(file=io.StringIO(), force_terminal=True, width=80)
    with progress(out, "[b]rows", 9) as advance:
        advance(4)
    shown = out.file.getvalue()
    assert "[b]rows" in shown and "9" in shown and shown.endswith("\x1b[1A\x1b[2K")
    out = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress_bar(out, transient=False) as bar:
        bar.add_task("training", total=9, completed=4, note="loss [0.5]")
    assert "4/9" in out.file.getvalue() and "loss [0.5]" in out.file.getvalue()


def test_without_a_console_nothing_is_shown():
    with progress(None, "rows", 9) as advance:
        advance(9)
