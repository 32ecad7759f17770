"""One run from recipe to report: load, check step 0, train, evaluate, write it all down."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from boresight import methods
from boresight.config import Recipe
from boresight.data.batching import Plan, plan
from boresight.data.prepare import Prepared, prepare
from boresight.data.rows import Row
from boresight.errors import UserError
from boresight.evaluate import answers, heldout
from boresight.models.load import load_model, load_tokenizer
from boresight.models.lora import attach
from boresight.models.reference import StoredReference, store_reference
from boresight.models.stop_tokens import wire_stop_tokens
from boresight.train.environment import environment
from boresight.train.forward import KINDS
from boresight.train.loop import Batch, Task, evaluate_rows, train
from boresight.train.optim import learning_rate_sum
from boresight.train.track import Tracker, counting


def run(recipe: Recipe, folder: Path, console: Console | None = None) -> Path:
    """Train by `recipe` into `folder`; returns the path of the report.

    Raises:
        UserError: `folder` already holds a run, or anything in the recipe or the data is wrong; then
            the folder is not created.
    """
    console = console or Console()
    refuse_used_folder(folder)
    method = methods.get(recipe.method_name)
    kind = KINDS[method.Input]
    seed_everything(recipe.train.seed)
    tokenizer = load_tokenizer(recipe.model.name, chat_template=recipe.model.chat_template)
    data = prepare(recipe, kind.data, tokenizer, console)
    policy = load_policy(recipe, tokenizer)
    source = OfflineBatches(data.train.rows, _plan(recipe, len(data.train.rows)))
    describe(recipe, policy, data, source.plan, console)
    open_folder(folder, recipe, data.facts())

    asked = answers.questions(recipe, data.eval.examples)
    with Tracker(folder, source.steps, console) as tracker:
        task = Task(
            recipe=recipe,
            method=method,
            kind=kind,
            policy=policy,
            tokenizer=tokenizer,
            reference=_reference(policy, recipe, source, data.eval.rows, console)
            if kind.needs_reference
            else None,
            batches=source,
            eval_rows=data.eval.rows,
            run=folder,
            tracker=tracker,
        )
        before = answers.answer_all(policy, tokenizer, asked, recipe.evaluate, console)
        start = evaluate_rows(task, data.eval.rows, 0.0) if data.eval.rows else None
        train(task)
        after = answers.answer_all(policy, tokenizer, asked, recipe.evaluate, console)
        end = evaluate_rows(task, data.eval.rows, 1.0) if data.eval.rows else None
    measured = heldout.compare(start, end) if start and end else []
    measured += answers.write(folder, asked, before, after)
    write_json(folder / "evaluation.json", {"metrics": [m.as_dict() for m in measured]})
    return finish(folder, measured, console)


@dataclass(frozen=True, slots=True)
class OfflineBatches:
    """Rows of a fixed data set in the planned order."""

    rows: Sequence[Row]
    plan: Plan

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.plan.steps

    def batch(self, step: int) -> Batch:
        """Rows of step `step`."""
        return Batch([self.rows[index] for index in self.plan.indices(step)])

    def used(self) -> list[Row]:
        """Every row that any step will see."""
        return [self.rows[index] for index in self.plan.used()]


def refuse_used_folder(folder: Path) -> None:
    """Raise a `UserError` when `folder` already holds a run."""
    if (folder / "config.yaml").exists() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder}: the folder already holds a run; give another one with --run.")


def load_policy(recipe: Recipe, tokenizer: Any) -> Any:
    """The model to train: fp32 master weights, adapters attached, stop tokens wired."""
    policy = load_model(recipe.model.name, device=recipe.model.device)
    wire_stop_tokens(policy, tokenizer)
    if recipe.model.lora is not None:
        policy = attach(policy, recipe.model.lora, seed=recipe.train.seed)
    return policy


def seed_everything(seed: int) -> None:
    """Seed every generator a run may draw from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def describe(recipe: Recipe, policy: Any, data: Prepared, order: Plan, console: Console) -> None:
    """Say what will run, in numbers that decide whether it can work."""
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    total = sum(p.numel() for p in policy.parameters())
    how = "LoRA adapters" if recipe.model.lora is not None else "all weights"
    console.print(
        f"{recipe.method_name} on {recipe.model.name}: {how}, "
        f"{trained / 1e6:.2f} of {total / 1e6:.1f} M parameters; "
        f"{len(data.train.rows):,} training rows, {len(data.eval.rows):,} held out; "
        f"{order.steps} steps of {recipe.train.batch}; learning rates sum to "
        f"{learning_rate_sum(order.steps, recipe.optim):.2e}",
        highlight=False,
    )


def open_folder(folder: Path, recipe: Recipe, facts: dict[str, Any]) -> None:
    """Create the run folder with what is known before training."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    write_json(folder / "data.json", facts)
    write_json(folder / "environment.json", environment())


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def finish(folder: Path, measured: Sequence[heldout.Measured], console: Console) -> Path:
    """Print the table and write the report."""
    from boresight.report.page import write_report
    from boresight.report.table import evaluation_table

    console.print(evaluation_table(measured))
    path = write_report(folder, console)
    console.print(f"report: {path.resolve()}", highlight=False, soft_wrap=True)
    return path


def default_folder(recipe_path: Path) -> Path:
    """A new folder under `runs/` named after the recipe and the time."""
    return Path("runs") / f"{recipe_path.stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def _plan(recipe: Recipe, rows: int) -> Plan:
    train = recipe.train
    return plan(rows, train.batch, epochs=train.epochs, steps=train.steps, seed=train.seed)


def _reference(
    policy: Any, recipe: Recipe, source: OfflineBatches, held_out: Sequence[Row], console: Console
) -> StoredReference:
    rows = [*source.used(), *held_out]
    with counting(console, "reference log-probabilities", len(rows)) as on_rows:
        advance: Callable[[int], None] = on_rows
        return store_reference(policy, rows, 2 * recipe.train.tokens_per_forward, advance)
