"""One run from recipe to report: load, check step 0, train, evaluate, write it all down."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from boresight import methods
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.files import read_json, write_json
from boresight.core.schema import Prompt
from boresight.data.chat import ensure_chat_template
from boresight.data.prepare import DatasetCache, Prepared, prepare
from boresight.data.stop_tokens import wire_stop_tokens
from boresight.findings.finding import Finding
from boresight.findings.monitor import watch
from boresight.models import lora
from boresight.models.kernels.allocator import keep_freed_memory
from boresight.models.load import load_model, load_tokenizer
from boresight.models.lora import attach
from boresight.models.reward import load_reward_model, wire_pad_token
from boresight.models.sharding import fits, shard, whole
from boresight.runs.preflight import before_training
from boresight.runs.training_folder import TrainingFolder
from boresight.scorers.rewards import check_rewards
from boresight.stats import paired
from boresight.training import activations, build
from boresight.training.checkpoints import disk_errors
from boresight.training.distributed import collectives
from boresight.training.forward import KINDS, Kind
from boresight.training.logging import integrations
from boresight.training.logging.logger import Listener, Tracker
from boresight.training.loop import Task, evaluate_now, train
from boresight.training.optim import learning_rate_sum
from boresight.training.probes import answers, likelihood
from boresight.training.probes.generations import answer_probe
from boresight.training.probes.held_out_reward import held_out_reward


def run(
    recipe: Recipe,
    folder: Path,
    console: Console | None = None,
    *,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
    claimed: bool = False,
    datasets: DatasetCache | None = None,
) -> Path:
    """Train by `recipe` into `folder`, or go on with the run there; returns the path of the report.

    A run that was cut short goes on from its checkpoint, with `resume` or without; with it, there must be
    one. `listeners` get every line of metrics; what they raise ends the run. Of `claimed` folders the caller
    knows that no other process is in them. `datasets` keeps the data for the caller's next run.

    Started by torchrun, all processes make this one run; the first writes the folder and the report.

    Raises:
        UserError: `folder` holds a run that cannot go on: a finished one, one of another recipe or other
            data, one without a checkpoint, one under way. Anything in the recipe or the data is wrong; then
            the folder is not created. The disk takes no more; then the message says what is whole.
        Interrupted: a signal asked the run to stop, which it did at a checkpoint, or a process has died.
    """
    keep_freed_memory()
    check_rewards(recipe.reward)
    with collectives.joined():
        if console is None or not collectives.is_first():
            console = Console(soft_wrap=True, quiet=not collectives.is_first())
        folder = Path(collectives.from_first(str(folder)))
        with (
            collectives.noticing_losses(folder),
            disk_errors.told(folder),
            TrainingFolder(folder, claimed) as place,
        ):
            _run(recipe, place, console, resume, listeners, datasets or DatasetCache())
            collectives.wait()  # so that the folder is whole when any process goes on
    return place.report


def run_to_end(
    recipe: Recipe,
    folder: Path,
    console: Console,
    listeners: Sequence[Listener] = (),
    *,
    claimed: bool = False,
    datasets: DatasetCache | None = None,
) -> None:
    """Run, go on with, or leave alone what `folder` holds, so that a finished run is there afterwards.

    A run that was killed before its first checkpoint is started again. `claimed` and `datasets` are as for
    `run`.
    """
    with TrainingFolder(folder, claimed) as place:
        if place.finished:
            return
        resume = place.resumable
        if not resume:
            place.clear()
    run(recipe, folder, console, resume=resume, listeners=listeners, claimed=claimed, datasets=datasets)


def _run(
    recipe: Recipe,
    place: TrainingFolder,
    console: Console,
    resume: bool,
    listeners: Sequence[Listener],
    datasets: DatasetCache,
) -> None:
    going_on = collectives.path_from_first(lambda: place.find_checkpoint(recipe, resume=resume))
    checked = [] if going_on or not collectives.is_first() else look_first(recipe, console, datasets)
    method = methods.get(recipe.method_name)
    kind = KINDS[method.Input]
    seed_everything(recipe.train.seed)
    with collectives.taking_turns():
        tokenizer = load_tokenizer(recipe.model.name)
        ensure_chat_template(tokenizer, recipe.model.chat_template)
        data = prepare(datasets.of(recipe, kind.data), tokenizer, console)
        policy = load_policy(recipe, kind, tokenizer)
    sharded = wants_shards(recipe, kind, policy)
    describe(recipe, policy, data, console)
    longest = max((row.tokens for row in data.train.rows), default=0)
    console.print(str(activations.settle(recipe, policy, longest)), highlight=False)
    rewards = build.rewards_of(recipe)
    if kind.online:
        parts = build.online(recipe, kind, policy, tokenizer, data, rewards)
    else:
        parts = build.offline(recipe, kind, policy, data, console)
    asked = answers.held_out_prompts(recipe, data.eval.examples) if kind.head == "lm" else []
    probes = [
        *parts.probes,
        *held_out_reward(recipe, policy, tokenizer, asked, rewards, console),
        *answer_probe(recipe, policy, tokenizer, asked, place.path),
    ]
    asked = asked[: recipe.evaluate.samples]
    if sharded:
        shard(policy)
    collectives.path_from_first(lambda: open_folder(place, recipe, data, checked, going_on, console))
    with _tracker(place.path, recipe, parts.batches.steps, len(data.eval.rows), console) as tracker:
        tracker.listeners += listeners
        task = Task(
            recipe=recipe,
            method=method,
            kind=kind,
            policy=policy,
            tokenizer=tokenizer,
            reference=parts.reference,
            batches=parts.batches,
            eval_rows=parts.eval_rows,
            run=place.path,
            tracker=tracker,
            probes=probes,
        )
        start = read_start(place.path) if going_on else write_start(task, asked, console)
        after = train(task, going_on)
        with whole(policy):
            said_after = answers.answer_all(policy, tokenizer, asked, recipe.evaluate, console)
            ids, prompts = [q.id for q in asked], [q.prompt for q in asked]
            likely = likelihood.under_start_model(
                policy, tokenizer, ids, prompts, start["answers"], said_after
            )
    if not collectives.is_first():
        return
    measured = paired.compare(start["numbers"], after)
    write_json(place.path / "end.json", {"numbers": after})
    measured += answers.write(place.path, asked, start["answers"], said_after) + likely
    write_json(place.path / "evaluation.json", {"metrics": [m.as_dict() for m in measured]})
    finish(place.path, measured, console)


def write_start(task: Task, asked: Sequence[Prompt], console: Console) -> dict[str, Any]:
    """Measure the start model and keep it: a resumed run cannot measure it again."""
    with whole(task.policy):
        said = answers.answer_all(task.policy, task.tokenizer, asked, task.recipe.evaluate, console)
    start = {"answers": said, "numbers": evaluate_now(task, 0)[1]}
    if collectives.is_first():
        write_json(task.run / "start.json", start)
    return start


def read_start(folder: Path) -> dict[str, Any]:
    """What `write_start` kept."""
    start: dict[str, Any] = read_json(folder / "start.json")
    return start


def _tracker(
    folder: Path, recipe: Recipe, steps: int, eval_rows: int, console: Console
) -> Tracker | collectives.Silent:
    if not collectives.is_first():
        return collectives.Silent()
    tracker = Tracker(folder, steps, console)
    watch(folder, tracker, recipe, steps, eval_rows)
    integrations.connect(tracker, recipe, folder, steps)
    return tracker


def look_first(recipe: Recipe, console: Console, datasets: DatasetCache) -> list[Finding]:
    """What stops a fresh run before anything is loaded raises a `UserError`; returns other findings."""
    integrations.refuse_missing(recipe.train.trackers)
    return before_training(recipe, console, datasets)


def load_policy(recipe: Recipe, kind: Kind, tokenizer: Any) -> Any:
    """The model to train: fp32 master weights, adapters attached, stop tokens wired."""
    if kind.head == "score":
        policy = load_reward_model(recipe.model.name, device=recipe.model.device, seed=recipe.train.seed)
        wire_pad_token(policy, tokenizer)
    else:
        policy = load_model(recipe.model.name, device=recipe.model.device)
        wire_stop_tokens(policy, tokenizer)
    if recipe.model.lora is not None:
        task: lora.Task = "SEQ_CLS" if kind.head == "score" else "CAUSAL_LM"
        policy = attach(policy, recipe.model.lora, recipe.train.seed, task=task)
    return policy


def wants_shards(recipe: Recipe, kind: Kind, policy: Any) -> bool:
    """Whether the weights are to be spread over the processes of this run.

    Raises:
        UserError: a reward model is to be spread, which it cannot.
    """
    parallel = recipe.train.parallel
    if collectives.world() == 1 or parallel == "ddp":
        return False
    if kind.head == "score" and parallel == "fsdp":
        raise UserError("train.parallel: fsdp cannot train a reward model; set train.parallel=ddp.")
    return parallel == "fsdp" or (kind.head == "lm" and collectives.from_first(not fits(policy)))


def seed_everything(seed: int) -> None:
    """Seed every generator a run may draw from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def describe(recipe: Recipe, policy: Any, data: Prepared, console: Console) -> None:
    """Say what will run, in numbers that decide whether it can work."""
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    total = sum(p.numel() for p in policy.parameters())
    steps = build.plan_of(recipe, len(data.train.rows)).steps
    how = "LoRA adapters" if recipe.model.lora is not None else "all weights"
    console.print(
        f"{recipe.method_name} on {recipe.model.name}: {how}, "
        f"{trained / 1e6:.2f} of {total / 1e6:.1f} M parameters; "
        f"{len(data.train.rows):,} training rows, {len(data.eval.rows):,} held out; "
        f"{steps} steps of {recipe.train.batch}; learning rates sum to "
        f"{learning_rate_sum(steps, recipe.optim):.2e}",
        highlight=False,
    )


def open_folder(
    place: TrainingFolder,
    recipe: Recipe,
    data: Prepared,
    findings: Sequence[Finding],
    checkpoint: Path | None,
    console: Console,
) -> None:
    """Create the run folder with what is known before training, or bring it back to the checkpoint."""
    if checkpoint is None:
        place.begin_run(recipe, data.facts(), findings)
        return
    step = place.resume_from(checkpoint, data.facts())
    console.print(f"{place.path}: going on with the run there after step {step}.", highlight=False)


def finish(folder: Path, measured: Sequence[paired.Measured], console: Console) -> None:
    """Print the table and write the report."""
    from boresight.reports.page import write_report
    from boresight.reports.tables.terminal import evaluation_table

    console.print(evaluation_table(measured))
    write_report(folder, console)
