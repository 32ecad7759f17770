"""TRL's steps on the rows of a job file; runs in `.venv-bench`, prints one line of JSON.

Set as fairly as we know: the same token ids in the same order, the same precision over float32 weights, no
gradient checkpointing, the same learning rate and clipping, fused AdamW, no evaluation, no saving. RLOO is
given its answers in place of sampling them, so that only its update is timed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from preference.trl_side import InOrder as DPOInOrder
from preference.trl_side import adapters
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer

from gpu_step.cases import reward
from gpu_step.clock import Clock, peak_gb

Job = dict[str, Any]


class OnStep(TrainerCallback):
    """Tells the clock, and keeps the losses."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.losses: list[float] = []

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        self.clock.step_done(state.global_step)

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


class SFTInOrder(SFTTrainer):
    """SFTTrainer on rows that are token ids and labels already, in the order given."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, *_: Any, **__: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


class RLOOGiven(RLOOTrainer):
    """RLOOTrainer whose prompts are numbers of rows and whose answers are those of the job."""

    job: Job

    def _generate(self, prompts: list[str]) -> tuple[list[list[int]], list[list[int]], list[str]]:
        asked: defaultdict[str, int] = defaultdict(int)
        questions, answers = [], []
        for prompt in prompts:
            row = self.job["rows"][int(prompt)]
            questions.append(row["prompt"])
            answers.append(row["answers"][asked[prompt]])
            asked[prompt] += 1
        return questions, answers, [""] * len(prompts)


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    clock = Clock(job["device"], job["warm"], job["steps"])
    watch = OnStep(clock)
    with tempfile.TemporaryDirectory() as out:
        trainer = TRAINERS[job["method"]](job, out, watch)
        trainer.train()
    print(json.dumps({"seconds": clock.seconds, "losses": watch.losses, "peak_gb": peak_gb(job["device"])}))


def sft(job: Job, out: str, watch: OnStep) -> SFTTrainer:
    rows = [
        {
            "input_ids": row["prompt"] + row["answers"][0],
            "labels": [-100] * len(row["prompt"]) + row["answers"][0],
        }
        for row in job["rows"]
    ]
    args = SFTConfig(**common(job, out, job["batch"]), max_length=None, packing=False)
    return SFTInOrder(**shared(job, watch), args=args, train_dataset=Dataset.from_list(rows))


def dpo(job: Job, out: str, watch: OnStep) -> DPOInOrder:
    rows = [
        {"prompt_ids": row["prompt"], "chosen_ids": row["answers"][0], "rejected_ids": row["answers"][1]}
        for row in job["rows"]
    ]
    args = DPOConfig(**common(job, out, job["batch"]), beta=0.1, max_length=None)
    return DPOInOrder(**shared(job, watch), args=args, train_dataset=Dataset.from_list(rows))


def rloo(job: Job, out: str, watch: OnStep) -> RLOOTrainer:
    k = len(job["rows"][0]["answers"])
    args = RLOOConfig(
        **common(job, out, job["batch"] * k),
        num_generations=k,
        beta=0.03,
        num_iterations=1,
        shuffle_dataset=False,
    )
    rows = [{"prompt": str(i)} for i in range(len(job["rows"]))]
    trainer = RLOOGiven(
        **shared(job, watch), reward_funcs=judge, args=args, train_dataset=Dataset.from_list(rows)
    )
    trainer.job = job
    return trainer


def judge(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [reward(ids) for ids in completion_ids]


TRAINERS = {"sft": sft, "dpo": dpo, "rloo": rloo}


def shared(job: Job, watch: OnStep) -> dict[str, Any]:
    return {
        "model": AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
        "processing_class": AutoTokenizer.from_pretrained(job["tokenizer"]),
        "peft_config": adapters(job),
        "callbacks": [watch],
    }


def common(job: Job, out: str, sequences: int) -> dict[str, Any]:
    """Settings of every trainer; at most `trl_batch` of a step's `sequences` (pairs, for DPO) a forward."""
    part = max(n for n in range(1, job["trl_batch"] + 1) if sequences % n == 0)
    return {
        "output_dir": out,
        "per_device_train_batch_size": part,
        "gradient_accumulation_steps": sequences // part,
        "max_steps": job["steps"],
        "learning_rate": job["lr"],
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "gradient_checkpointing": False,
        "bf16": job["dtype"] == "bfloat16",
        "use_cpu": job["device"] == "cpu",
        "dataloader_pin_memory": job["device"] == "cuda",
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
    }


if __name__ == "__main__":
    main()
