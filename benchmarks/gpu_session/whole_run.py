"""`boresight train` from the command line, and what its run folder says afterwards.

    python -m gpu_session.whole_run RECIPE RUN [key=value ...] [--stored] [--json FILE]

With --stored the run fails here unless it found all of its reference log-probabilities where an earlier run
had stored them: that is where another batch or another start would show that they are not the same.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from boresight.core.files import cache_folder, read_jsonl
from gpu_session import options


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("recipe")
    parser.add_argument("run", type=Path)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--stored", action="store_true", help="the reference must be stored already")
    args = parser.parse_args()
    before, began = stored_rows(), time.perf_counter()
    settings = [f"model.device={args.device}", *args.settings]
    command = [sys.executable, "-m", "boresight", "train", args.recipe, "--run", str(args.run), *settings]
    status = subprocess.run(command).returncode
    numbers: dict[str, Any] = {"seconds": time.perf_counter() - began, "stored_before": before}
    numbers["stored_after"] = after = stored_rows()
    options.write(args.json, numbers)
    if status:
        sys.exit(status)
    numbers |= training(read_jsonl(args.run / "metrics.jsonl"))
    numbers["evaluation"] = evaluation(json.loads((args.run / "evaluation.json").read_text()))
    options.write(args.json, numbers)
    for name, value in numbers.items():
        print(f"{name}: {value if isinstance(value, str | dict) else format(value, ',.4g')}")
    if args.stored and not 0 < before == after:
        sys.exit(f"the reference was not read from where it is stored: {before} rows before, {after} after")


def stored_rows() -> int:
    """Rows of all reference log-probabilities in the cache folder."""
    count = 0
    for path in (cache_folder() / "reference").glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as database:
            count += database.execute("SELECT COUNT(*) FROM checked_logps").fetchone()[0]
    return count


def training(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Losses at both ends, and the median speed of the updates after the first, which compiles.

    A step whose gradient overflowed, or that had nothing to learn from, is not an update and has no speed;
    the latter has no loss either.
    """
    steps = [line for line in lines if line["split"] == "train"]
    losses = [line["loss"] for line in steps if "loss" in line]
    updates = [line for line in steps if "seconds" in line]
    if not updates:
        sys.exit(f"the weights were not updated in any of {len(steps)} steps")
    later = updates[1:] or updates
    return {
        "steps": len(steps),
        "updates": len(updates),
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "seconds_per_step": statistics.median(line["seconds"] for line in later),
        "tokens_per_second": statistics.median(line["tokens_per_second"] for line in later),
        "peak_gb": max(line["peak_memory_gb"] for line in updates),
    }


def evaluation(results: dict[str, Any]) -> dict[str, str]:
    """Metrics of the run, before and after."""
    return {
        metric["name"]: f"{metric['before']['value']:.4g} -> {metric['after']['value']:.4g}"
        for metric in results["metrics"]
        if metric["before"] and metric["after"]
    }


if __name__ == "__main__":
    main()
