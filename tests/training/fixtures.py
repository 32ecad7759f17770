"""A whole training task in memory: tiny model, random rows, no files but the run folder."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from boresight import methods
from boresight.config.dotted import apply_override
from boresight.config.recipe import Recipe
from boresight.data.batching import plan
from boresight.data.rows import Completion, Row
from boresight.methods.inputs import GroupTokenLogps
from boresight.models.reference.frozen import LiveReference, Reference, frozen_copy, store_reference
from boresight.training.build import OfflineBatches
from boresight.training.forward import kind_of
from boresight.training.logging.logger import Tracker
from boresight.training.loop import Task
from boresight.training.mismatched import each_alone, together, with_mismatched
from tests.tiny import tiny_model, tiny_tokenizer


def ten_demonstrations(folder: Path, **changes: Any) -> dict[str, Any]:
    """The raw recipe of a short SFT run on files in `folder`: a tiny model and ten rows.

    `changes` are settings by section, which replace those of the recipe.
    """
    tiny_model().save_pretrained(folder / "base")
    tiny_tokenizer().save_pretrained(folder / "base")
    rows = [{"prompt": f"say {i}", "completion": "the answer " * (1 + i % 3)} for i in range(10)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw: dict[str, Any] = {
        "method": {"name": "sft"},
        "model": {"name": str(folder / "base")},
        "data": {"train": str(folder / "rows.jsonl")},
        "optim": {"lr": 0.01},
        "train": {"batch": 4, "steps": 4},
    }
    return raw | {name: raw.get(name, {}) | section for name, section in changes.items()}


def random_rows(count: int, k: int, seed: int = 0, vocab: int = 300) -> list[Row]:
    """Rows with random tokens: prompts of 2 to 12, completions of 1 to 12, every token scored."""
    rng = np.random.default_rng(seed)

    def ids(low: int) -> np.ndarray:
        return rng.integers(3, vocab, rng.integers(low, 13)).astype(np.int32)

    def completion() -> Completion:
        tokens = ids(1)
        return Completion(tokens, np.ones(len(tokens), bool))

    return [
        Row(
            f"row-{i}",
            ids(2),
            tuple(completion() for _ in range(k)),
            scores=tuple(rng.integers(0, 2, k).astype(float).tolist()),
            from_reference=tuple(j == i % 2 for j in range(k)),
        )
        for i in range(count)
    ]


def completions_of(kind: Any) -> int:
    """How many completions rows of a kind carry."""
    return {"demonstration": 1, "labeled": 1, "preference": 2}.get(
        kind.data, 2 if kind.samples == "pair" else 4
    )


def reference_of(policy: Any, rows: list[Row], recipe: Recipe) -> Reference:
    """Stored sums, or the frozen model itself for methods that ask for the log-probability of every token."""
    if issubclass(methods.get(recipe.method_name).Input, GroupTokenLogps):
        return LiveReference(frozen_copy(policy), 10_000)
    return each_alone(store_reference(policy, together(rows), 10_000), rows)


def make_task(
    run: Path,
    method: str,
    *settings: str,
    rows: int = 16,
    dtype: torch.dtype = torch.float32,
    policy: Any = None,
) -> Task:
    """A task for `method` on random rows; `settings` are recipe overrides."""
    raw = {"method": {"name": method}, "data": {"train": "none"}, "optim": {"lr": 1e-3, "warmup": 0.0}}
    for setting in settings:
        apply_override(raw, setting)
    recipe = Recipe.parse(raw)
    kind = kind_of(recipe)
    data = random_rows(rows, completions_of(kind))
    data = with_mismatched(data, recipe.data.max_length)[0] if kind.mismatched else data
    policy = policy or tiny_model(dtype=dtype)
    steps = recipe.train.steps or 1
    order = plan(rows, recipe.train.batch, epochs=None, steps=steps, seed=recipe.train.seed)
    run.mkdir(parents=True, exist_ok=True)
    return Task(
        recipe=recipe,
        policy=policy,
        tokenizer=tiny_tokenizer(),
        reference=reference_of(policy, data, recipe) if kind.needs_reference else None,
        batches=OfflineBatches(data, order),
        eval_rows=data[:4] if not kind.online else [],
        run=run,
        tracker=Tracker(run, steps, Console(file=io.StringIO())),
    )
