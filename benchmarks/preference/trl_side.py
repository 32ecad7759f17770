"""TRL's DPO on the rows of a job file; runs in `.venv-bench`, prints one line of JSON.

Set as fairly as we know: the same token ids in the same order, fp32, no gradient checkpointing, the
same AdamW, learning rate and clipping, no evaluation, no saving. Tokenising is skipped on both sides.
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
from peft import LoraConfig
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer


class Timer(TrainerCallback):
    """Seconds of every optimiser step, its forward and backward included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.losses: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started, self.cpu_started = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self.started)
        self.cpu_seconds.append(time.process_time() - self.cpu_started)

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


class InOrder(DPOTrainer):
    """DPOTrainer on rows that are token ids already, in the order given."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, *_: Any, **__: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["tokenizer"])
    timer = Timer()
    with tempfile.TemporaryDirectory() as out:
        trainer = InOrder(
            model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
            args=settings(job, out),
            train_dataset=Dataset.from_list(job["rows"]),
            processing_class=tokenizer,
            peft_config=adapters(job),
            callbacks=[timer],
        )
        started = time.perf_counter()
        trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    preparing = time.perf_counter() - started - sum(timer.seconds)
    result = {
        "seconds": timer.seconds,
        "cpu_seconds": timer.cpu_seconds,
        "losses": timer.losses,
        "peak_gb": peak,
        "reference_seconds": preparing,
    }
    print(json.dumps(result))


def settings(job: dict[str, Any], out: str) -> DPOConfig:
    return DPOConfig(
        output_dir=out,
        per_device_train_batch_size=job["batch"],
        max_steps=job["steps"],
        learning_rate=job["lr"],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        beta=0.1,
        max_length=None,
        precompute_ref_log_probs=job["precompute"],
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=0,
    )


def adapters(job: dict[str, Any]) -> LoraConfig | None:
    if job["lora"] is None:
        return None
    return LoraConfig(
        r=job["lora"]["r"],
        lora_alpha=job["lora"]["alpha"],
        lora_dropout=0.0,
        target_modules=job["lora"]["targets"],
        task_type="CAUSAL_LM",
    )


if __name__ == "__main__":
    main()
