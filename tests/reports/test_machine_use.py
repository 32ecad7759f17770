"""Time and memory of a run beside what its ramp says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from boresight.reports.facts import facts
from boresight.reports.machine_use import MachineUse
from boresight.reports.read_run import RunData, read_run
from tests.checks.test_ramp import point, ramp

RAMP = ramp(replace(point(1e-3, 0.5), seconds=2.0, tokens=800.0, peak_memory_gb=3.0))
LINES = [
    {"step": 1, "seconds": 3.0, "tokens_per_second": 500.0, "peak_memory_gb": 2.0},
    {"step": 2, "seconds": 1.0, "tokens_per_second": 900.0, "peak_memory_gb": 3.1},
    {"step": 3, "skipped": 1.0},
    {"step": 4, "seconds": "long", "tokens_per_second": None, "peak_memory_gb": True},
]


def run(**more) -> RunData:
    return RunData("run", Path("run"), True, train=LINES, **more)


def test_the_ramp_s_pace_on_the_tokens_of_the_run():
    """3 · 500 + 1 · 900 = 2,400 tokens at 400 a second: 6 s, where 4 s were logged."""
    assert MachineUse.of(run(ramp=RAMP)) == MachineUse(4.0, 3.1, pytest.approx(6.0), 3.0)
    shown = dict(facts(run(ramp=RAMP)))
    assert shown["time of training steps"] == "4.0 s (6.0 s by its ramp)"
    assert shown["peak memory"] == "3.1 GB (3.0 GB by its ramp)"


def test_without_a_ramp_or_a_log_nothing_stands_beside():
    assert MachineUse.of(run()) == MachineUse(4.0, 3.1, None, None)
    assert dict(facts(run()))["peak memory"] == "3.1 GB"
    assert MachineUse.of(RunData("run", Path("run"), True)) == MachineUse(None, None, None, None)


def test_a_ramp_that_cannot_be_read_is_a_note(tmp_path):
    (tmp_path / "config.yaml").write_text("method: {name: dpo}\n")
    (tmp_path / "ramp.json").write_text("{}")
    found = read_run(tmp_path)
    assert found.ramp is None
    assert any("ramp.json: it holds no learning-rate ramp" in note for note in found.notes)
