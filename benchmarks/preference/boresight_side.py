"""boresight's DPO on the rows of a job file, through the loop that `boresight train` runs.

Prints one line of JSON. The machine's GEMM rate is taken in the same process, just before.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boresight.models.kernels.allocator import keep_freed_memory

keep_freed_memory()  # as the command line does, before anything large exists

import numpy as np  # noqa: E402
import torch  # noqa: E402
from rich.console import Console  # noqa: E402

from boresight.config.recipe import Recipe  # noqa: E402
from boresight.data.rows import Completion, Row  # noqa: E402
from boresight.models.load import load_model, load_tokenizer  # noqa: E402
from boresight.models.lora import attach  # noqa: E402
from boresight.models.reference.frozen import store_reference  # noqa: E402
from boresight.training.logging.logger import Tracker  # noqa: E402
from boresight.training.loop import Batch, Task, run_steps  # noqa: E402
from boresight.training.memory import peak_memory_gb  # noqa: E402


@dataclass(frozen=True)
class InOrder:
    """Batches in the order of the job, starting again when the rows run out."""

    rows: Sequence[Row]
    size: int
    steps: int
    cpu_clock: list[float] = field(default_factory=list)

    def batch(self, step: int) -> Batch:
        self.cpu_clock.append(time.process_time())
        return Batch([self.rows[(step * self.size + i) % len(self.rows)] for i in range(self.size)])


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    rate = gemm_rate()
    recipe = Recipe.parse(recipe_of(job))
    policy = load_model(job["model"], device="cpu")
    if recipe.model.lora is not None:
        policy = attach(policy, recipe.model.lora, seed=0)
    rows = [row_of(i, row) for i, row in enumerate(job["rows"])]
    started = time.perf_counter()
    reference = store_reference(policy, rows, recipe.train.tokens_per_forward)
    reference_seconds = time.perf_counter() - started
    batches = InOrder(rows, job["batch"], job["steps"])
    with tempfile.TemporaryDirectory() as out:
        folder = Path(out)
        with Tracker(folder, job["steps"], Console(quiet=True)) as tracker:
            run_steps(
                Task(
                    recipe=recipe,
                    policy=policy,
                    tokenizer=load_tokenizer(job["tokenizer"]),
                    reference=reference,
                    batches=batches,
                    eval_rows=[],
                    run=folder,
                    tracker=tracker,
                )
            )
        batches.cpu_clock.append(time.process_time())
        steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = {
        "seconds": [step["seconds"] for step in steps],
        "cpu_seconds": np.diff(batches.cpu_clock).tolist(),
        "losses": [step["loss"] for step in steps],
        "peak_gb": peak_memory_gb(torch.device("cpu")),
        "reference_seconds": reference_seconds,
        "gemm_rate": rate,
    }
    print(json.dumps(result))


def recipe_of(job: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": {"name": "dpo", "beta": 0.1},
        "model": {"name": job["model"], "lora": job["lora"] and {**job["lora"], "dropout": 0.0}},
        "data": {"train": "the rows of the job"},
        "optim": {"lr": job["lr"], "schedule": "constant", "warmup": 0.0, "clip": 1.0},
        "train": {
            "batch": job["batch"],
            "steps": job["steps"],
            "tokens_per_forward": job["tokens_per_forward"],
        },
    }


def row_of(index: int, row: dict[str, list[int]]) -> Row:
    def completion(ids: list[int]) -> Completion:
        return Completion(np.array(ids, np.int32), np.ones(len(ids), bool))

    answers = completion(row["chosen_ids"]), completion(row["rejected_ids"])
    return Row(str(index), np.array(row["prompt_ids"], np.int32), answers)


def gemm_rate(size: int = 2048, repeats: int = 7) -> float:
    """Floating-point operations a second of a square fp32 product, the median of a few."""
    a, b, seconds = torch.randn(size, size), torch.randn(size, size), []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
