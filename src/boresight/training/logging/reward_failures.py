"""Completions that a reward failed on: the first is told, all are kept in the run folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = "reward-failures.jsonl"
SHOWN = 200
"""Characters of a completion that are printed; the file has all of it."""


def keep(run: Path, step: int, failures: Sequence[dict[str, Any]]) -> str:
    """Append a line a failure to the run's file; returns the sentence that tells of them."""
    with (run / FILE).open("a", encoding="utf-8") as file:
        for failure in failures:
            file.write(json.dumps({"step": step, **failure}, ensure_ascii=False) + "\n")
    return f"step {step}: {told(failures)}; all are in {run / FILE}"


def told(failures: Sequence[dict[str, Any]]) -> str:
    """How many completions have no reward because of a failure, and the first one."""
    first, many = failures[0], len(failures)
    return (
        f"{many:,} completion{'s' * (many > 1)} could not be judged and count as missing, the first: "
        f"{first['function']}: {first['error']}, on {first['completion'][:SHOWN]!r} to prompt {first['id']!r}"
    )
