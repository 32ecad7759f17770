"""Everything that a training run holds in memory before its first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.schema import Prompt
from boresight.data.prepare import Dataset, DatasetCache, Prepared, prepare
from boresight.data.rendering.choose import ensure_chat_template
from boresight.data.rendering.clock import pin_day, today
from boresight.data.tokenizer import Tokenizer
from boresight.models.checkpoint.leftovers import Leftovers
from boresight.models.load import load_tokenizer
from boresight.models.sharding import shard
from boresight.training.build import build_task
from boresight.training.distributed import collectives
from boresight.training.forward import kind_of
from boresight.training.loop import Task
from boresight.training.policy import (
    choose_activations,
    describe_policy,
    load_policy,
    seed_everything,
    wants_shards,
)
from boresight.training.probes.answers import prompts_to_answer, refuse_unanswerable

Preparing = Callable[[Dataset, Tokenizer, Console], Prepared]


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A run in memory: its task, its data, and the prompts that the start and the end model answer.

    `leftovers` are weights that the recipe allowed to be missing or left over, by model or adapter.
    """

    task: Task
    data: Prepared
    prompts: list[Prompt]
    leftovers: Mapping[str, Leftovers]


def load_run(
    recipe: Recipe,
    datasets: DatasetCache,
    folder: Path,
    console: Console,
    preparing: Preparing = prepare,
    day: str | None = None,
) -> LoadedRun:
    """Load tokenizer, data, model, rewards and reference, in this order; seeds all generators first.

    Args:
        datasets: where data that were read before are kept.
        folder: the run folder, which need not exist yet.
        preparing: makes rows of the data.
        day: what a chat template prints that prints the day, YYYY-MM-DD; None is today in the first process.

    Raises:
        UserError: any of them cannot be loaded, or does not fit the others.
    """
    seed_everything(recipe.train.seed)
    kind = kind_of(recipe)
    day = collectives.from_first(day or today())
    with collectives.taking_turns():
        tokenizer = load_tokenizer(recipe.model.name)
        ensure_chat_template(tokenizer, recipe.model.chat_template)
        pin_day(tokenizer, day)
        data = preparing(datasets.of(recipe, kind.data), tokenizer, console)
        policy, leftovers = load_policy(recipe, kind, tokenizer)
    sharded = wants_shards(recipe, kind, policy)
    describe_policy(recipe, policy, data, console)
    choose_activations(recipe, policy, data, console)
    prompts = prompts_to_answer(recipe, data.eval.examples) if kind.head == "lm" else []
    refuse_unanswerable(recipe, policy, tokenizer, prompts)
    task = build_task(recipe, policy, tokenizer, data, prompts, folder, console)
    if sharded:
        shard(policy)
    return LoadedRun(task, data, prompts[: recipe.evaluate.samples], leftovers)
