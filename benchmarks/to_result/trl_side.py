"""TRL's DPOTrainer with LoRA on a file of pairs, saving its adapter every few steps; runs in `.venv-bench`.

    python trl_side.py JOB.json

The settings of the demo's recipe; of TRL's own choices those that are faster here: no gradient
checkpointing, and checkpoints of the adapter alone, without the state of the optimizer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    rows = load_dataset("json", data_files=job["pairs"], split="train")
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
        args=DPOConfig(
            output_dir=job["out"],
            max_steps=job["steps"],
            per_device_train_batch_size=job["batch"],
            learning_rate=job["rate"],
            lr_scheduler_type="cosine",
            warmup_steps=round(job["warmup"] * job["steps"]),
            beta=job["beta"],
            max_length=job["max_length"],
            seed=job["seed"],
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            report_to=[],
            save_strategy="steps",
            save_steps=job["save_every"],
            save_only_model=True,
            disable_tqdm=True,
        ),
        train_dataset=rows.select_columns(["prompt", "chosen", "rejected"]),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        peft_config=LoraConfig(
            r=job["lora"]["r"],
            lora_alpha=job["lora"]["alpha"],
            lora_dropout=0.0,
            target_modules=job["lora"]["targets"],
            task_type="CAUSAL_LM",
        ),
    )
    trainer.train()


if __name__ == "__main__":
    main()
