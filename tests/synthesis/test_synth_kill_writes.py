"""Killed at its writes, a synthesis loses no response that it had, and buys none of them twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="the client needs the extra [api]")

SCRIPT = Path(__file__).with_name("kill_writes.py")
AT_ONCE = 4
LEDGER = {
    "plain": {"_settle_dead", "reserve", "complete"},
    "batch": {"_settle_dead", "reserve", "batch", "complete"},
}
"""Methods of the ledger that write, where no request fails."""
FILES = {"config.yaml", "prompts.jsonl", "answers.jsonl", "pairs.jsonl", "pairs.parquet", "card.md"}


def killed(home: Path, mode: str, prompts: int, what: str) -> list[dict[str, Any]]:
    """The lines of `kill_writes.py`; the first is of the undisturbed run."""
    command = [sys.executable, str(SCRIPT), str(home), mode, str(prompts), what]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def assert_nothing_lost(line: dict[str, Any], mode: str) -> None:
    """A response that was on its way when a process died is bought again; a batch is found again."""
    assert (line["lost"], line["resent"], line["same"]) == (0, 0, True), line
    assert line["twice"] <= (AT_ONCE * len(line["kills"]) if mode == "plain" else 0), line


@pytest.mark.parametrize("mode", LEDGER)
def test_a_kill_at_every_kind_of_write_loses_nothing_and_buys_nothing_twice(
    tmp_path: Path, mode: str
) -> None:
    _, line = killed(tmp_path / "home", mode, 3, "sites")
    assert_nothing_lost(line, mode)
    places = {f"ledger.{method}" for method in LEDGER[mode]} | FILES
    assert set(line["kills"]) == {f"{point} {place}" for point in ("temporary", "done") for place in places}


@pytest.mark.nightly
@pytest.mark.parametrize("mode", LEDGER)
def test_a_kill_at_every_write_of_200_responses(tmp_path: Path, mode: str) -> None:
    whole, *lines = killed(tmp_path / "home", mode, 50, "writes")
    assert whole["responses"] == 200 and len(lines) == whole["writes"] > 800
    for line in lines:
        assert_nothing_lost(line, mode)
