"""What is measured: settings, rows, and how much arithmetic a pair needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from throughput import row_operations

TokenRow = dict[str, list[int]]
LORA = {"r": 16, "alpha": 32, "targets": ["q_proj", "k_proj", "v_proj", "o_proj"]}
QWEN = {  # Qwen2.5-0.5B's config.json, shapes only; the weights are random
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Case:
    """One line of the table. `rows` names a source of `ROWS`; `precompute` is TRL's own switch."""

    name: str
    rows: str
    lora: bool = False
    precompute: bool = False
    model: str = "starter"
    batch: int = 4
    steps: int = 3


BALANCED = Case("balanced, full", "balanced")
CASES = (
    BALANCED,
    Case("balanced, full, TRL precompute", "balanced", precompute=True),
    Case("balanced, LoRA", "balanced", lora=True),
    Case("long prompt, full", "long"),
    Case("long prompt, LoRA", "long", lora=True),
    Case("HH, full", "hh"),
    Case("HH, LoRA", "hh", lora=True),
    Case("UltraFeedback, full", "ultrafeedback"),
    Case("UltraFeedback, LoRA", "ultrafeedback", lora=True),
    Case("Qwen2.5-0.5B shape, balanced, full", "balanced", model="qwen", batch=2, steps=2),
)


def rows_of(source: str, count: int, data: Path, tokenizer: Any, vocabulary: int) -> list[TokenRow]:
    """`count` rows of a source: of fixed lengths, so that padding costs neither side, or real text."""
    if source == "balanced":
        return _fixed(count, 240, 105, vocabulary)
    if source == "long":
        return _fixed(count, 512, 128, vocabulary)
    files = {
        "hh": "hh_rlhf_harmless_test/share.jsonl.gz",
        "ultrafeedback": "ultrafeedback_1000/train_clean.jsonl",
    }
    return _real(data / files[source], count, tokenizer)


def operations(config: Any, rows: Sequence[TokenRow], lora: bool) -> float:
    """Floating-point operations of a step on `rows`, each prompt once, nothing recomputed."""
    passes = 2 if lora else 3
    return sum(
        row_operations(
            config, len(row["prompt_ids"]), [len(row["chosen_ids"]), len(row["rejected_ids"])], passes
        )
        for row in rows
    )


def _fixed(count: int, prompt: int, answer: int, vocabulary: int) -> list[TokenRow]:
    rng = np.random.default_rng(0)
    lengths = {"prompt_ids": prompt, "chosen_ids": answer, "rejected_ids": answer}
    return [
        {name: rng.integers(10, vocabulary, n).tolist() for name, n in lengths.items()} for _ in range(count)
    ]


def _real(file: Path, count: int, tokenizer: Any, longest: int = 1024) -> list[TokenRow]:
    """Rows drawn by a fixed seed; broken and overlong ones are passed over, every token is scored."""
    from boresight.data.reading.load import read
    from boresight.data.tokenize import tokenize

    examples = read(file, kind="preference", bad_rows="drop").examples
    drawn = [examples[i] for i in np.random.default_rng(0).permutation(len(examples))[: 3 * count]]
    rows = tokenize(drawn, tokenizer, max_length=longest).rows[:count]
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [
        {
            name: ids.tolist()
            for name, ids in zip(names, (row.prompt, *(c.ids for c in row.completions)), strict=True)
        }
        for row in rows
    ]
