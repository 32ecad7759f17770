"""One run of one side: train with checkpoints, then measure them until the result is reached.

The clock starts with the command and stops when a checkpoint's weights are on the disk. Measuring comes
after training and is not timed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_run import demo_command, timed
from preference.cases import LORA
from preference_step import TRL_PYTHON

from boresight.data.demo import PAIRS

SIDES = ("boresight", "trl")
SHARED = {"batch": 8, "beta": 0.1, "warmup": 0.1, "max_length": 256, "lora": LORA}
"""What both sides have in common: the demo's recipe."""

Correct = dict[str, float]
"""Share of right answers by prompt id."""


@dataclass(frozen=True)
class Settings:
    """Of all runs: `model` is a folder, `gain` a difference of shares."""

    model: str
    steps: int
    save_every: int
    gain: float
    threads: int


@dataclass(frozen=True)
class Checkpoint:
    """Weights after `step`, on the disk `seconds` after the command was given."""

    step: int
    seconds: float
    model: Path


def one_run(
    settings: Settings, side: str, rate: float, seed: int, start: Correct, grade: Callable[[Path], Correct]
) -> dict[str, Any]:
    """Train one side, and measure its checkpoints from the first one on until the gain is reached.

    Returns:
        `seconds` and `step` of the first checkpoint with the gain, None where no checkpoint has it; `gains`
        by step, of those measured; `trained`, the seconds of the whole process.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoints, trained = train(settings, side, rate, seed, Path(folder))
        gains: dict[int, float] = {}
        reached = None
        for checkpoint in checkpoints:
            gains[checkpoint.step] = mean_gain(start, grade(checkpoint.model))
            if gains[checkpoint.step] >= settings.gain:
                reached = checkpoint
                break
    return {
        "side": side,
        "rate": rate,
        "seed": seed,
        "seconds": reached and reached.seconds,
        "step": reached and reached.step,
        "gains": gains,
        "trained": trained,
        "prompts": len(start),
    }


def mean_gain(start: Correct, after: Correct) -> float:
    """Mean difference over prompts, which have to be the same."""
    if start.keys() != after.keys():
        raise ValueError("the start model and the checkpoint answered different prompts")
    return sum(after[id] - start[id] for id in start) / len(start)


def train(
    settings: Settings, side: str, rate: float, seed: int, folder: Path
) -> tuple[list[Checkpoint], float]:
    """Train in a process of its own, with an empty cache, and find its checkpoints in order."""
    command = (boresight_command if side == "boresight" else trl_command)(settings, rate, seed, folder)
    clock = time.time()
    trained = timed(command, folder / "cache", OMP_NUM_THREADS=str(settings.threads))
    found = sorted(checkpoints_in(folder / "run", clock), key=lambda checkpoint: checkpoint.step)
    wanted = list(range(settings.save_every, settings.steps + 1, settings.save_every))
    if [checkpoint.step for checkpoint in found] != wanted:
        sys.exit(f"{side} left checkpoints of steps {[c.step for c in found]}, not of {wanted}.")
    return found, trained


def boresight_command(settings: Settings, rate: float, seed: int, folder: Path) -> list[str]:
    """The demo's recipe without evaluations, with a checkpoint every few steps."""
    changes = {
        "model.name": settings.model,
        "method.beta": SHARED["beta"],
        "optim.lr": rate,
        "optim.warmup": SHARED["warmup"],
        "train.batch": SHARED["batch"],
        "train.steps": settings.steps,
        "train.seed": seed,
        "train.save_every": settings.save_every,
        "train.keep": settings.steps,
        "train.guard": "null",
        "data.max_length": SHARED["max_length"],
    }
    return demo_command(folder / "run", changes)


def trl_command(settings: Settings, rate: float, seed: int, folder: Path) -> list[str]:
    job = SHARED | {
        "model": settings.model,
        "pairs": str(PAIRS),
        "rate": rate,
        "seed": seed,
        "steps": settings.steps,
        "save_every": settings.save_every,
        "threads": settings.threads,
        "out": str(folder / "run"),
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    return [str(TRL_PYTHON), str(Path(__file__).with_name("trl_side.py")), str(folder / "job.json")]


def checkpoints_in(run: Path, clock: float) -> Iterator[Checkpoint]:
    """The adapters that either side left, with the time at which each was on the disk."""
    for weights in run.rglob("adapter_model.safetensors"):
        folder = next((part for part in weights.parents if is_checkpoint(part.name)), None)
        if folder is not None:
            yield Checkpoint(int(folder.name.split("-")[1]), weights.stat().st_mtime - clock, weights.parent)


def is_checkpoint(name: str) -> bool:
    """Whether a folder is one of a step: `step-5` here, `checkpoint-5` in TRL."""
    kind, _, step = name.partition("-")
    return kind in ("step", "checkpoint") and step.isdecimal()


def best_rates(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The rate of each side that reached the gain first, else the one with the largest gain."""

    def rank(run: dict[str, Any]) -> tuple[float, float]:
        return (
            run["seconds"] if run["seconds"] is not None else float("inf"),
            -max(run["gains"].values()),
        )

    return {side: min((run for run in runs if run["side"] == side), key=rank)["rate"] for side in SIDES}
