"""Curves of a short seeded run of every method, in float32 and one thread, and of one in two processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from boresight import methods
from tests.pins import runs

WATCHED = ("loss", "grad_norm", "margin", "reward", "score")


def observe() -> dict[str, Any]:
    """Logged numbers by method, split and name, a number a step."""
    found = {method: curves(runs.trained(method)) for method in methods.names()}
    return found | {
        "dpo with LoRA": curves(runs.trained_with_lora()),
        "dpo in two processes": curves(runs.trained_by_two()),
    }


def curves(run: Path) -> dict[str, list[Any]]:
    """The watched numbers of a run folder, those that its method logs."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    found: dict[str, list[Any]] = {}
    for line in lines:
        for name in WATCHED:
            if name in line:
                found.setdefault(f"{line['split']} {name}", []).append(line[name])
    return found
