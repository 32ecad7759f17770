"""boresight's steps on the rows of a job file, through the loop that `boresight train` runs.

Prints one line of JSON. The device's GEMM rate is taken in the same process, just before.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from preference.boresight_side import InOrder
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.data.rows import Completion, Row
from boresight.models.eval_mode import arithmetic
from boresight.models.load import load_model
from boresight.models.lora import attach
from boresight.models.policy import Policy
from boresight.models.reference.frozen import LiveReference, Reference, frozen_copy, store_reference
from boresight.training.forward import InputKind, kind_of
from boresight.training.logging.logger import Tracker
from boresight.training.loop import Task, run_steps
from gpu_step.cases import reward
from gpu_step.clock import Clock, peak_gb


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    rate = gemm_rate(job["device"], getattr(torch, job["dtype"]))
    clock = Clock(job["device"], job["warm"], job["steps"])
    losses = train(job, load_policy(job), clock.step_done)
    result = {
        "seconds": clock.seconds,
        "losses": losses,
        "peak_gb": peak_gb(job["device"]),
        "gemm_rate": rate,
        "device": device_name(job["device"]),
        "torch": torch.__version__,
    }
    print(json.dumps(result))


def load_policy(job: dict[str, Any]) -> Policy:
    """The model of a job on its device, with adapters where the job has them."""
    policy = load_model(job["model"], device=job["device"])
    adapters = Recipe.parse(recipe_of(job)).model.lora
    return policy if adapters is None else attach(policy, adapters, seed=0)


def train(job: dict[str, Any], policy: Policy, step_done: Callable[[int], None]) -> list[float]:
    """Train `policy` on the rows of a job and return the losses; `step_done(n)` is called after each step."""
    recipe = Recipe.parse(recipe_of(job))
    rows = [row_of(i, row) for i, row in enumerate(job["rows"])]
    reference = reference_of(recipe, kind_of(recipe), policy, rows)
    with tempfile.TemporaryDirectory() as out:
        folder = Path(out)
        with Tracker(folder, job["steps"], Console(quiet=True)) as tracker:
            tracker.listeners.append(lambda step, split, numbers: step_done(step))
            run_steps(
                Task(
                    recipe=recipe,
                    policy=policy,
                    tokenizer=None,
                    reference=reference,
                    batches=InOrder(rows, job["batch"], job["steps"]),
                    eval_rows=[],
                    run=folder,
                    tracker=tracker,
                )
            )
        lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def reference_of(recipe: Any, kind: InputKind, policy: Any, rows: list[Row]) -> Reference | None:
    """As `boresight train` has it: stored before the first step for given answers, live for sampled ones."""
    if not kind.needs_reference:
        return None
    if kind.online:
        return LiveReference(frozen_copy(policy), recipe.train.tokens_per_forward)
    with arithmetic(policy, recipe.model.dtype, recipe.train.tokens_per_forward, recipe.model.kernels):
        return store_reference(policy, rows, recipe.train.tokens_per_forward)


def recipe_of(job: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": {"name": job["method"]},
        "model": {
            "name": job["model"],
            "dtype": job["dtype"],
            "kernels": job.get("kernels", "proven"),
            "lora": job["lora"] and {**job["lora"], "dropout": 0.0},
        },
        "data": {"train": "the rows of the job"},
        "optim": {"lr": job["lr"], "schedule": "constant", "warmup": 0.0, "clip": 1.0},
        "train": {
            "batch": job["batch"],
            "steps": job["steps"],
            "tokens_per_forward": job["tokens_per_forward"],
        },
    }


def row_of(index: int, row: dict[str, Any]) -> Row:
    answers = [np.array(ids, np.int32) for ids in row["answers"]]
    return Row(
        str(index),
        np.array(row["prompt"], np.int32),
        tuple(Completion(ids, np.ones(len(ids), bool)) for ids in answers),
        scores=tuple(reward(ids) for ids in row["answers"]),
    )


def gemm_rate(device: str, dtype: torch.dtype, repeats: int = 7) -> float:
    """Floating-point operations a second of a square product, the median of a few."""
    size = 8192 if device == "cuda" else 512
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(repeats + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
