"""`boresight train` on the recipe of a job file, outputs reused or not; prints one line of JSON."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path

from boresight.models.kernels.allocator import keep_freed_memory

keep_freed_memory()  # as the command line does, before anything large exists

import torch  # noqa: E402

import boresight  # noqa: E402
from boresight.config.dotted import apply_override  # noqa: E402
from boresight.config.recipe import Recipe  # noqa: E402
from boresight.config.recipe_files import read_recipe_file  # noqa: E402
from boresight.training.choices import read_choices  # noqa: E402
from boresight.training.memory import peak_memory_gb  # noqa: E402
from boresight.training.rollouts import reuse  # noqa: E402


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    reuse.NARROWEST = 0 if job["reuse"] else math.inf  # models of any width, or of none
    recipe = read_recipe_file(job["recipe"], Recipe)
    for setting in job["settings"]:
        apply_override(recipe, setting)
    with tempfile.TemporaryDirectory() as out:
        run = Path(out) / "run"
        boresight.train(recipe, run=run, quiet=True)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        choices = read_choices(run / "choices.json")
    steps = [line for line in lines if line["split"] == "train"]
    print(
        json.dumps(
            {
                "reuse": bool(choices and choices.reuse),
                "seconds": [step["seconds"] for step in steps],
                "tokens": [step["sampled_len"] for step in steps],
                "zero_variance": [step["zero_variance"] for step in steps],
                "loss": [step["loss"] for step in steps],
                "grad_norm": [step["grad_norm"] for step in steps],
                "peak_gb": peak_memory_gb(torch.device("cpu")),
            }
        )
    )


if __name__ == "__main__":
    main()
