"""TRL's RLOO on the prompts of a job file; runs in `.venv-bench`, prints one line of JSON.

All completions are generated at once and make one optimiser step, fp32, full fine-tuning with a reference
model, no checkpointing: what `boresight_side` does.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from reward import different_words
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import RLOOConfig, RLOOTrainer

PART = 16
"""Completions of a forward; all 64 at once did not fit into 24 GiB beside their logits."""


class Timer(TrainerCallback):
    """Seconds from the end of one optimiser step to the end of the next: generation included."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.tokens: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "completions/mean_length" in logs:
            self.tokens.append(float(logs["completions/mean_length"]))


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    timer = Timer()
    with tempfile.TemporaryDirectory() as out:
        trainer = RLOOTrainer(
            model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
            reward_funcs=judge,
            args=settings(job, out),
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in job["prompts"]]),
            processing_class=AutoTokenizer.from_pretrained(job["model"]),
            callbacks=[timer],
        )
        trainer.train()
    print(
        json.dumps(
            {
                "seconds": [b - a for a, b in zip(timer.ends, timer.ends[1:], strict=False)],
                "tokens": timer.tokens[: job["steps"]],
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
        )
    )


def judge(completions: list[list[dict[str, str]]], **_: Any) -> list[float]:
    return different_words([], [turns[0]["content"] for turns in completions], [])


def settings(job: dict[str, Any], out: str) -> RLOOConfig:
    return RLOOConfig(
        output_dir=out,
        per_device_train_batch_size=PART,
        gradient_accumulation_steps=len(job["prompts"]) // job["steps"] * job["k"] // PART,
        num_generations=job["k"],
        max_completion_length=job["max_new_tokens"],
        max_steps=job["steps"],
        learning_rate=job["lr"],
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        beta=job["beta"],
        temperature=1.0,
        num_iterations=1,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=job["seed"],
    )


if __name__ == "__main__":
    main()
