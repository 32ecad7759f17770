"""Load everything that a training run needs before its first step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.schema import Prompt
from boresight.data.prepare import Dataset, DatasetCache, Prepared, PreparedSide, prepare
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.rendering.choose import ensure_chat_template
from boresight.data.rendering.clock import pin_day, today
from boresight.data.tokenizer import Tokenizer
from boresight.models import lora
from boresight.models.checkpoint.leftovers import Leftovers
from boresight.models.eval_mode import arithmetic
from boresight.models.kernels.libraries import Libraries, libraries, use_libraries
from boresight.models.load import load_tokenizer
from boresight.models.reuse.store import LinearOutputs
from boresight.models.sharding import shard
from boresight.stats.paired import SamePrompts, duplicate_prompts
from boresight.training.build import build_task
from boresight.training.checkpoints.checkpoint import load_weights
from boresight.training.choices import Choices
from boresight.training.distributed import collectives
from boresight.training.footprint.base import base_form
from boresight.training.forward import kind_of
from boresight.training.loop import Task
from boresight.training.policy import (
    choose_activations,
    choose_reuse,
    describe_policy,
    load_policy,
    seed_everything,
    wants_shards,
)
from boresight.training.probes.answers import prompts_to_answer

Preparing = Callable[[Dataset, Tokenizer, Console], Prepared]


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A loaded run: its task, its data, and the prompts that both the start model and the trained model
    answer.

    `leftovers` are weights that the recipe allowed to be missing or unexpected, by model or adapter.
    """

    task: Task
    data: Prepared
    prompts: list[Prompt]
    leftovers: Mapping[str, Leftovers]
    choices: Choices

    def facts(self) -> dict[str, Any]:
        """Return the content of `data.json`: facts about the data, and a digest of the prompts to answer."""
        asked = json.dumps([(p.id, p.prompt) for p in self.prompts], ensure_ascii=False)
        digest = sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()
        facts = self.data.facts()
        held_out = len(self.data.eval.rows) - len(self.task.same_prompts.rows)
        facts["eval"] = facts["eval"] | {"prompts": held_out}
        return facts | {"prompts": {"asked": len(self.prompts), "sha256": digest}}


@dataclass(frozen=True, slots=True)
class Earlier:
    """Values that a resumed run takes from its folder: the date in the chat template, and `choices.json`."""

    template_day: str | None = None
    choices: Choices | None = None

    @property
    def libraries(self) -> Libraries | None:
        """Libraries that the earlier run used for matrix products; None if none are recorded."""
        kept = None if self.choices is None else self.choices.libraries
        return None if kept is None else Libraries(**kept)


def load_run(
    recipe: Recipe,
    datasets: DatasetCache,
    folder: Path,
    console: Console,
    earlier: Earlier | None = None,
    *,
    preparing: Preparing = prepare,
    trained: Path | None = None,
) -> LoadedRun:
    """Seed all generators, then load tokenizer, data, model, rewards and reference, in this order.

    Args:
        datasets: cache of data that were read before.
        folder: the run folder, which need not exist yet.
        earlier: values of the run to resume; None for a new run.
        preparing: function that tokenizes the data into training and held-out rows.
        trained: folder of the run's trained model, whose weights are loaded into the policy. The reference,
            and the model from which the KL is measured, remain the recipe's model.

    Raises:
        UserError: one of these parts cannot be loaded, or does not fit the others.
    """
    collectives.refuse_shared_gpu(recipe.model.device)
    seed_everything(recipe.train.seed)
    kind = kind_of(recipe)
    earlier = earlier or Earlier()
    use_libraries(earlier.libraries)
    day = collectives.from_first(earlier.template_day or today())
    with collectives.local_main_process_first():
        tokenizer = load_tokenizer(recipe.model.name)
        ensure_chat_template(tokenizer, recipe.model.chat_template)
        pin_day(tokenizer, day)
        data = preparing(datasets.of(recipe, kind.data), tokenizer, console)
        policy, leftovers = load_policy(recipe, kind, tokenizer)
    sharded = wants_shards(recipe, kind, policy)
    prompts = prompts_to_answer(recipe, data.eval.examples) if kind.head == "lm" else []
    describe_policy(recipe, policy, data, prompts, console)
    before = None if earlier.choices is None else earlier.choices.recompute
    recompute = choose_activations(recipe, policy, data, console, before)
    reuse = choose_reuse(recipe, policy, data, console, recompute, earlier.choices)
    outputs = LinearOutputs(reuse.tokens) if reuse is not None and reuse.reuse else None
    task = build_task(recipe, policy, tokenizer, data, prompts, folder, console, outputs)
    task.same_prompts = same_prompts(data.eval, prompts)
    if earlier.choices is not None:
        task.eval_every = earlier.choices.eval_every
    if trained is not None:
        put_trained_weights(task, trained)
    if sharded:
        with arithmetic(policy, recipe.model.dtype, kernels=recipe.model.kernels):
            shard(policy)
    choices = Choices(
        device=str(policy.device),
        processes=collectives.world(),
        sharded=sharded,
        recompute=recompute,
        eval_every=task.eval_every,
        dtype=task.dtype,
        base=base_form(recipe, kind, task.dtype) if recipe.model.lora else None,
        libraries=asdict(libraries()) if policy.device.type == "cpu" else None,
        reuse=None if reuse is None else reuse.reuse,
    )
    return LoadedRun(task, data, prompts[: recipe.evaluate.samples], leftovers, choices)


def same_prompts(held_out: PreparedSide, prompts: Sequence[Prompt]) -> SamePrompts:
    """Find held-out rows that share a prompt, and prompts to answer that are equal.

    A conversation may have one row per assistant turn; all of these share the prompt of the conversation.
    """
    keys = list(map(prompt_key, held_out.examples))
    return SamePrompts(
        duplicate_prompts([row.id for row in held_out.rows], [keys[owner] for owner in held_out.owners]),
        duplicate_prompts([prompt.id for prompt in prompts], map(prompt_key, prompts)),
    )


def put_trained_weights(task: Task, folder: Path) -> None:
    """Load the weights that training wrote to `folder` into the policy; adapters of a reward model are
    merged first."""
    if task.kind.head == "score":
        task.policy = lora.merge(task.policy)
    load_weights(task.policy, folder)
    task.moved = True
