"""Build the batches, the reference and the probes of a run, for given data and for sampled answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.console import print_warning, progress
from boresight.core.errors import UserError
from boresight.core.schema import Prompt, to_prompt
from boresight.core.wording import format_duration
from boresight.data.batching import BatchPlan, plan
from boresight.data.prepare import Prepared, PreparedSide
from boresight.data.rows import Row
from boresight.data.stop_tokens import stop_token_ids
from boresight.data.stored.view import View, concatenated, picked
from boresight.data.tokenizer import Tokenizer
from boresight.models.eval_mode import arithmetic
from boresight.models.lora import adapters_off
from boresight.models.policy import Policy
from boresight.models.precision import resolve_dtype
from boresight.models.reference.cache import cached_reference
from boresight.models.reference.frozen import LiveReference, Reference, StoredReference, frozen_copy
from boresight.models.reuse.store import LinearOutputs
from boresight.models.sampler.sample import Sample
from boresight.scorers.rewards import RewardSum
from boresight.training.distributed import collectives
from boresight.training.footprint.forward_tokens import forward_tokens
from boresight.training.forward import InputKind, kind_of
from boresight.training.loop import Batch, Batches, Probe, Task
from boresight.training.mismatched import each_alone, together, with_mismatched
from boresight.training.probes.generations import answer_probe
from boresight.training.probes.held_out_reward import held_out_reward
from boresight.training.probes.kl import kl_probe
from boresight.training.rollouts.importance import ImportanceGate
from boresight.training.rollouts.replay import Replay
from boresight.training.rollouts.rollout import GroupRollouts, OnlinePrompt, PairRollouts, Rollouts
from boresight.training.rollouts.sampling import Sampler, policy_sampler
from boresight.training.rollouts.vllm import VllmRollouts


@dataclass(frozen=True, slots=True)
class OfflineBatches:
    """Rows of a fixed data set, in the planned order."""

    rows: Sequence[Row]
    plan: BatchPlan

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.plan.steps

    def batch(self, step: int) -> Batch:
        """Return the rows of step `step`."""
        return Batch([self.rows[index] for index in self.plan.indices(step)])

    def used(self) -> Sequence[Row]:
        """Return every row that is used in any step."""
        return picked(self.rows, self.plan.used())


def batch_plan(recipe: Recipe, rows: int) -> BatchPlan:
    """Return the order in which the recipe uses `rows` training rows."""
    train = recipe.train
    return plan(rows, train.batch, epochs=train.epochs, steps=train.steps, seed=train.seed)


def build_task(
    recipe: Recipe,
    policy: Policy,
    tokenizer: Tokenizer,
    data: Prepared,
    prompts: Sequence[Prompt],
    folder: Path,
    console: Console,
    outputs: LinearOutputs | None = None,
) -> Task:
    """Build the run of a recipe: batches, reference and probes for a loaded policy and its data.

    Args:
        prompts: held-out prompts; probes use some of them.
        folder: the run folder, which need not exist yet.
        outputs: storage for the outputs of linear layers during sampling, for reuse in the first update on a
            rollout.

    Raises:
        UserError: a reward is missing or cannot be loaded, or a sampling server cannot be reached.
    """
    kind, rewards = kind_of(recipe), rewards_of(recipe)
    if kind.online:
        assert rewards is not None, "a method that samples has rewards"
        eval_rows: Sequence[Row] = []
        batches, reference = online(recipe, kind, policy, tokenizer, data, rewards, outputs)
    else:
        rows, eval_rows = given_rows(recipe, kind, data, console)
        batches, reference = offline(recipe, kind, policy, rows, eval_rows, console)
    probes: list[Probe] = [
        *kl_probe(recipe, kind, policy, eval_rows),
        *held_out_reward(recipe, policy, tokenizer, prompts, rewards, console),
        *answer_probe(recipe, policy, tokenizer, prompts, folder),
    ]
    return Task(
        recipe=recipe,
        policy=policy,
        tokenizer=tokenizer,
        reference=reference,
        batches=batches,
        eval_rows=eval_rows,
        run=folder,
        probes=probes,
        replay=batches.replay if isinstance(batches, PairRollouts) else None,
        outputs=outputs,
    )


def given_rows(
    recipe: Recipe, kind: InputKind, data: Prepared, console: Console
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Return the training and the held-out rows, each with a mismatched answer if the method needs one.

    Raises:
        UserError: there is no other answer for a row.
    """
    train, held = data.train.rows, data.eval.rows
    if not kind.mismatched:
        return train, held
    length = recipe.data.max_length
    (train, alike), (held, held_alike) = (
        with_mismatched(train, length),
        with_mismatched(held, length, others=train),
    )
    if count := alike + held_alike:
        print_warning(
            console,
            f"KL estimate: {count:,} of {len(train) + len(held):,} rows use another answer to their own "
            "prompt, since no row has both another prompt and another answer",
        )
    return train, held


def offline(
    recipe: Recipe,
    kind: InputKind,
    policy: Policy,
    train: Sequence[Row],
    held_out: Sequence[Row],
    console: Console,
) -> tuple[Batches, Reference | None]:
    """Return the batches of given answers, and the reference; None if the method uses no reference.

    The reference's log-probabilities are computed here for every row that will be used.
    """
    batches = OfflineBatches(train, batch_plan(recipe, len(train)))
    reference = None
    if kind.needs_reference and recipe.method.wants_reference:
        used = concatenated(batches.used(), held_out)
        rows = collectives.share(together(used))
        limit = forward_tokens(recipe.train, policy.device)
        alike = arithmetic(policy, recipe.model.dtype, limit, recipe.model.kernels)
        label, started = "reference log-probabilities", time.monotonic()
        with alike, progress(console, label, len(rows)) as advance:
            own = cached_reference(policy, rows, limit, advance)
        duration = format_duration(time.monotonic() - started)
        console.print(f"{label}: {reference_origin(own)} in {duration}", highlight=False)
        reference = each_alone(_of_all(own), used) if kind.mismatched else _of_all(own)
    return batches, reference


def reference_origin(own: StoredReference) -> str:
    """Return the origin of the reference's log-probabilities as text, such as `24 read from the cache`, `24
    computed`, or `20 read from the cache and 4 computed`. Equal rows count once."""
    computed = len(own.table) - own.cached
    parts = [f"{own.cached:,} read from the cache"] * (own.cached > 0)
    return " and ".join([*parts, *[f"{computed:,} computed"] * (computed > 0 or not parts)])


def _of_all(own: StoredReference) -> StoredReference:
    """Return the log-probabilities of all rows: each process has looked up or computed a share of them."""
    if collectives.world() == 1:
        return own
    parts = collectives.gather_tensors({key.hex(): sums for key, sums in own.table.items()})
    return StoredReference({bytes.fromhex(key): sums for part in parts for key, sums in part.items()})


def rewards_of(recipe: Recipe) -> RewardSum | None:
    """Load the rewards of a recipe; None if it names none and needs none.

    Raises:
        UserError: a reward cannot be loaded, or the method learns from rewards and none is named.
    """
    if not recipe.reward and kind_of(recipe).online:
        raise UserError(f"reward: {recipe.method_name} learns from a reward; name one under `reward:`.")
    return RewardSum(recipe.reward) if recipe.reward else None


def online(
    recipe: Recipe,
    kind: InputKind,
    policy: Policy,
    tokenizer: Tokenizer,
    data: Prepared,
    rewards: RewardSum,
    outputs: LinearOutputs | None = None,
) -> tuple[Batches, Reference | None]:
    """Return the batches of sampled completions, and the reference that samples or scores them."""
    temperature = recipe.rollout.temperature
    ends = stop_token_ids(policy)
    dtype = resolve_dtype(recipe.model.dtype, policy.device)
    frozen = frozen_copy(policy, dtype) if recipe.method.wants_reference else None
    served = VllmRollouts(policy, recipe, ends) if recipe.rollout.backend == "vllm" else None
    own = _sampler_of(policy, recipe, ends, outputs)
    rollouts = Rollouts(
        prompts=_online_prompts(data.train),
        plan=batch_plan(recipe, len(data.train.rows)),
        sampler=served.sample if served else own,
        rewards=rewards,
        tokenizer=tokenizer,
        gate=_importance_gate(recipe, policy) if served else None,
    )
    limit = forward_tokens(recipe.train, policy.device)
    reference = LiveReference(frozen, limit, temperature) if frozen else None
    batches = _batches(recipe, kind, rollouts, frozen, ends, served.sample_reference if served else None)
    return batches, reference


def _sampler_of(
    model: Policy, recipe: Recipe, ends: tuple[int, ...], outputs: LinearOutputs | None = None
) -> Sampler:
    return policy_sampler(model, recipe.rollout, ends, recipe.train.seed, recipe.model.kernels, outputs)


def _online_prompts(side: PreparedSide) -> Sequence[OnlinePrompt]:
    def of_row(place: int) -> OnlinePrompt:
        row, example = side.rows[place], side.examples[int(side.owners[place])]
        return OnlinePrompt(replace(to_prompt(example), id=row.id), row.prompt)

    return View(len(side.rows), of_row)


def _importance_gate(recipe: Recipe, policy: Policy) -> ImportanceGate:
    limit = forward_tokens(recipe.train, policy.device)
    return ImportanceGate(policy, recipe.rollout, limit, recipe.model.dtype, recipe.model.kernels)


def _batches(
    recipe: Recipe,
    kind: InputKind,
    rollouts: Rollouts,
    frozen: Policy | None,
    ends: tuple[int, ...],
    reference_sampler: Sampler | None = None,
) -> GroupRollouts | PairRollouts:
    """Return batches of groups or of pairs, as the method needs.

    If one side of a pair is sampled from the reference and there is no `reference_sampler`, it is sampled
    from `frozen` without adapters.
    """
    if kind.samples == "group":
        return GroupRollouts(rollouts, recipe.rollout.k, recipe.rollout.updates)
    replay = Replay(recipe.method.replays, recipe.train.seed) if recipe.method.replays else None
    if not recipe.method.samples_reference:
        return PairRollouts(rollouts, replay=replay)
    if reference_sampler is None:
        assert frozen is not None, "a method that samples from its reference has one"
        reference_sampler = _without_adapters(frozen, recipe, ends)
    return PairRollouts(rollouts, reference_sampler, replay)


def _without_adapters(frozen: Policy, recipe: Recipe, ends: tuple[int, ...]) -> Sampler:
    """Return a sampler from `frozen` without its adapters."""
    from_frozen = _sampler_of(frozen, recipe, ends)

    def sampler(prompts: Sequence[np.ndarray], k: int, number: int) -> list[list[Sample]]:
        with adapters_off(frozen):
            return from_frozen(prompts, k, number)

    return sampler
