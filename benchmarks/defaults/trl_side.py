"""TRL's DPOTrainer with its defaults on a file of pairs; runs in `.venv-bench`.

    python trl_side.py MODEL PAIRS STEPS SEED OUT

Only what the comparison fixes is set: the number of steps, the seed, the CPU, fp32 (TRL would take
bf16, which is slower on a CPU without AMX), and silence. Batch 8, rate 1e-6 falling linearly, beta 0.1,
all weights and gradient checkpointing are TRL's own choices.
"""

from __future__ import annotations

import sys

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer


def main(model: str, pairs: str, steps: str, seed: str, out: str) -> None:
    rows = load_dataset("json", data_files=pairs, split="train")
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=DPOConfig(
            output_dir=out,
            max_steps=int(steps),
            seed=int(seed),
            bf16=False,
            use_cpu=True,
            dataloader_pin_memory=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=rows.select_columns(["prompt", "chosen", "rejected"]),
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    trainer.train()
    trainer.save_model(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
