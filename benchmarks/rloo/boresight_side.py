"""boresight's RLOO on the prompts of a job file: `boresight train` itself; prints one line of JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from boresight.models.kernels.allocator import keep_freed_memory

keep_freed_memory()  # as the command line does, before anything large exists

import torch  # noqa: E402

import boresight  # noqa: E402
from boresight.training.memory import peak_memory_gb  # noqa: E402


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    with tempfile.TemporaryDirectory() as out:
        prompts = Path(out) / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in job["prompts"]))
        run = Path(out) / "run"
        boresight.train(recipe_of(job, prompts), run=run, quiet=True)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["split"] == "train"]
    print(
        json.dumps(
            {
                "seconds": [step["seconds"] for step in steps],
                "tokens": [step["sampled_len"] for step in steps],
                "peak_gb": peak_memory_gb(torch.device("cpu")),
            }
        )
    )


def recipe_of(job: dict, prompts: Path) -> dict:
    return {
        "method": {"name": "rloo", "beta": job["beta"]},
        "model": {"name": job["model"]},
        "data": {"train": str(prompts), "eval_rows": 0},
        "optim": {"lr": job["lr"], "schedule": "constant", "warmup": 0.0, "clip": 1.0},
        "rollout": {"k": job["k"], "max_new_tokens": job["max_new_tokens"]},
        "reward": [{"function": "reward:different_words"}],
        "train": {
            "batch": len(job["prompts"]) // job["steps"],
            "steps": job["steps"],
            "tokens_per_forward": job["tokens_per_forward"],
            "seed": job["seed"],
        },
        "evaluate": {"samples": 0, "rewarded": 0, "kl_rows": 0},
        "check": {"probes": 0},
    }


if __name__ == "__main__":
    main()
