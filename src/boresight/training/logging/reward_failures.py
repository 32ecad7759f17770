"""Record completions for which a reward failed: the first is printed, all are written to the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boresight.core.files import append_jsonl

FILE = "reward-failures.jsonl"
SHOWN = 200
"""Number of characters of a completion that are printed; the file contains all of it."""


def keep(run: Path, step: int, failures: Sequence[dict[str, Any]]) -> str:
    """Append one line per failure to the run's file, and return a summary sentence."""
    append_jsonl(run / FILE, ({"step": step, **failure} for failure in failures))
    return f"step {step}: {failure_summary(failures)}; all are in {run / FILE}"


def failure_summary(failures: Sequence[dict[str, Any]]) -> str:
    """Return a sentence with the number of completions without a reward, and the first failure."""
    first, many = failures[0], len(failures)
    return (
        f"{many:,} completion{'s' * (many > 1)} could not be judged and count as missing, the first: "
        f"{first['function']}: {first['error']}, on {first['completion'][:SHOWN]!r} to prompt {first['id']!r}"
    )
