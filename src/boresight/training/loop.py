"""Run the training loop, independent of the method.

Rows are converted into the method's input (`forward`), and the input into a loss. Gradients of `loss *
weight` are summed over micro-batches and processes, and divided once by the summed weight, which gives the
exact gradient of the whole batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Parameter

from boresight import methods
from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.interrupt import Interrupted, StopRequest, listening
from boresight.data.batching import micro_batches
from boresight.data.rows import Row
from boresight.data.tokenizer import Tokenizer
from boresight.findings import monitor
from boresight.methods import Method
from boresight.methods.inputs import LabeledLogps, LossInput, LossOutput
from boresight.models import lora
from boresight.models.eval_mode import arithmetic
from boresight.models.kernels.matmul import gradients_in_place
from boresight.models.kernels.to_device import like
from boresight.models.policy import Policy
from boresight.models.precision import resolve_dtype, token_noise
from boresight.models.reference.frozen import Reference
from boresight.models.reuse.store import LinearOutputs, reusing
from boresight.models.sharding import is_sharded, whole, whole_weights
from boresight.stats.paired import ByRow, SamePrompts, mean_of_known
from boresight.training import initial_loss
from boresight.training.checkpoints import best, checkpoint, trained
from boresight.training.checkpoints.checkpoint import STOPPED_BY_GUARD
from boresight.training.checkpoints.resume_command import resume_command
from boresight.training.checkpoints.rewind import logs_now
from boresight.training.checkpoints.sharded import is_sharded_checkpoint, load_shards, save_shards
from boresight.training.checkpoints.timer import CheckpointTimer
from boresight.training.distributed import collectives, replicas
from boresight.training.footprint.forward_tokens import forward_tokens
from boresight.training.forward import InputKind, kind_of
from boresight.training.guard.guard import NOT_KEPT, Guard
from boresight.training.logging import reward_failures
from boresight.training.logging.logger import RunLog
from boresight.training.loss_scale import LOSS_SCALE, LossScale
from boresight.training.memory import peak_memory_gb
from boresight.training.metrics import Gathered
from boresight.training.mismatched import estimate_kl, mismatched_alone
from boresight.training.optimizer.adamw import has_moved, make_optimizer
from boresight.training.optimizer.clipping import divide_and_clip
from boresight.training.optimizer.learning_rate import learning_rate
from boresight.training.probes.generations import support
from boresight.training.rollouts import zero_advantage
from boresight.training.rollouts.old_logps import OldLogps, old_logps, with_old_logps
from boresight.training.rollouts.replay import Replay
from boresight.training.rollouts.reuse import fault_of

STOPPING = "boresight: stopping after this step, with a checkpoint; Ctrl-C again stops without one"
"""Message after the first signal, since the step and its evaluation may take minutes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one step, metrics of their sampling, and failures of rewards."""

    rows: Sequence[Row]
    numbers: dict[str, float] = field(default_factory=dict)
    failures: Sequence[dict[str, Any]] = ()
    """Completions for which a reward failed; their scores are NaN in the rows."""


class Batches(Protocol):
    """Source of the rows of each step: given rows in a seeded order, or fresh rollouts."""

    @property
    def steps(self) -> int:
        """Number of steps."""
        ...

    def batch(self, step: int) -> Batch:
        """Return the rows of step `step`, `0 <= step < steps`."""
        ...


Probe = Callable[[int], ByRow]
"""Function that is called with the number of steps so far, and returns measurements by row."""


@dataclass(slots=True)
class Task:
    """One run in memory: the model, its batches, its probes, and the run folder."""

    recipe: Recipe
    policy: Policy
    tokenizer: Tokenizer
    reference: Reference | None
    batches: Batches
    eval_rows: Sequence[Row]
    run: Path
    probes: Sequence[Probe] = ()
    """Held-out measurements besides the method's own loss and metrics on `eval_rows`."""
    same_prompts: SamePrompts = field(default_factory=SamePrompts)
    """Rows of `eval_rows` with equal prompts, and equal prompts among those that are answered."""
    tracker: RunLog = field(default_factory=collectives.Silent)
    """Log of metrics; it ignores everything until the run folder exists."""
    moved: bool = False
    """Whether an update has changed the policy; until then it equals the reference."""
    kl: Tensor | None = None
    """Estimate of the KL to the reference, nats, for the current batch, if the method uses one."""
    old_logps: OldLogps = field(default_factory=dict)
    """Log-probabilities before the first update on the current rollout; empty if it has only one update."""
    replay: Replay | None = None
    """Pairs of earlier steps, if the method trains on them again; they are part of every checkpoint."""
    outputs: LinearOutputs | None = None
    """Storage for the outputs of linear layers during sampling, for reuse in the first update on a
    rollout."""
    loss_scale: LossScale = field(init=False)
    """Factor on the loss in float16; 1 in other precisions."""
    guard: Guard | None = None
    """The guard, which may stop the run; set after the start model has been measured. None if it is off."""
    method: Method = field(init=False)
    kind: InputKind = field(init=False)
    eval_every: int = field(init=False)
    """Number of steps between evaluations."""

    def __post_init__(self) -> None:
        self.method, self.kind = methods.get(self.recipe.method_name), kind_of(self.recipe)
        self.loss_scale = LossScale.of(self.dtype)
        self.eval_every = self.recipe.train.eval_every or max(1, self.batches.steps // 8)

    @property
    def temperature(self) -> float:
        """Temperature of sampling and of log-probabilities; 1 for given text."""
        return self.recipe.rollout.temperature if self.kind.online else 1.0

    @property
    def dtype(self) -> str:
        """Precision of the policy: `model.dtype`, resolved for its device."""
        return resolve_dtype(self.recipe.model.dtype, self.policy.device)

    @property
    def token_noise(self) -> float:
        """Standard deviation of the rounding error of a token's log-probability, nats; 0 in float32, where
        limits are strict."""
        return token_noise(self.dtype)

    def arithmetic(self) -> AbstractContextManager[None]:
        """Context manager in which the policy computes as in the run.

        It sets precision, padded lengths of forwards, and kernels.
        """
        model = self.recipe.model
        return arithmetic(self.policy, model.dtype, self.tokens_per_forward, model.kernels)

    @property
    def tokens_per_forward(self) -> int:
        """Maximum number of tokens of a micro-batch."""
        return forward_tokens(self.recipe.train, self.policy.device)

    @property
    def current_reference(self) -> Reference | None:
        """The reference of the next step; None for sampled groups until the policy has had an update.

        All log-ratios are exactly zero without a reference. If they were computed, rounding would make them
        about 1e-6 nats; equal rewards of a group would then differ, and Adam scales any gradient up to a full
        step.
        """
        return self.reference if self.moved or self.kind.samples != "group" else None

    def build(self, rows: Sequence[Row]) -> LossInput:
        """Compute the method's input for `rows`."""
        x = self.kind.build(self.policy, self.current_reference, rows, self.temperature)
        if isinstance(x, LabeledLogps) and self.kl is not None:
            return replace(x, kl=like(self.kl, x.policy).expand_as(x.policy))
        return x

    def is_fresh(self, step: int) -> bool:
        """Return whether the policy at `step` is the one that sampled its rows.

        It is not after an update on them, nor with given rows.
        """
        return self.kind.online and step % self.recipe.rollout.updates == 0

    def build_at_start(self, rows: Sequence[Row]) -> LossInput:
        """Compute the method's input before the first step.

        Stored log-probabilities of the reference are used in place of a forward.
        """
        unmoved = self.kind.unmoved(self.reference, rows)
        return self.build(rows) if unmoved is None else unmoved


def run_steps(task: Task, resume_from: Path | None = None) -> ByRow | None:
    """Run all steps; write weights, metrics, checkpoints and the last held-out numbers to the run folder.

    Returns:
        The last held-out numbers, by row. None if the guard has stopped the run; the trained model is then
        from an earlier step than the policy of `task`.

    Raises:
        Interrupted: a signal requested the run to stop; it stopped at a checkpoint, or with the trained
            model.
    """
    optimizer = make_optimizer(task.policy, task.recipe.optim)
    progress = _start(task, optimizer, resume_from)
    with listening(STOPPING if collectives.is_first() else "") as stop:
        after = _remaining_steps(task, optimizer, progress, stop)
        if "best_step" in progress:
            task.tracker.say(best.best_checkpoint_line(task.recipe, progress))
        if task.guard and progress.get(STOPPED_BY_GUARD) and task.guard.end():
            after = None
        else:
            if after is None:  # interrupted after its last checkpoint; the log has this evaluation already
                after = measure_again(task, progress["step"])
            _keep_final(task, after, progress["step"])
        if collectives.any_process(stop.made):
            raise Interrupted(f"stopped after the last step; {resume_sentence(task.run)}.", stop.number)
    return after


def _start(task: Task, optimizer: torch.optim.Optimizer, resume_from: Path | None) -> dict[str, Any]:
    """Prepare policy and optimizer for the first step to take, and return the progress at that point."""
    progress: dict[str, Any] = {"step": 0, "lr_sum": 0.0}
    if resume_from:
        in_parts = is_sharded(task.policy) or is_sharded_checkpoint(resume_from)
        load = load_shards if in_parts else checkpoint.load_state
        progress = load(resume_from, task.policy, optimizer)
        task.moved = collectives.any_process(has_moved(optimizer))
        task.loss_scale.restore(progress.pop(LOSS_SCALE, None))
        if task.replay is not None:
            task.replay.restore(checkpoint.load_replay(resume_from))
        _drop_older(task, progress)  # not done yet if the run was killed right after writing a checkpoint
    replicas.check_replicas(task.policy, "at the start")
    task.policy.train()
    if task.guard:
        task.guard.begin(progress["step"])
    else:
        for name in (STOPPED_BY_GUARD, NOT_KEPT):
            progress.pop(name, None)
    return progress


def _remaining_steps(
    task: Task, optimizer: torch.optim.Optimizer, progress: dict[str, Any], stop: StopRequest
) -> ByRow | None:
    """Take the remaining steps, until the end or until the run is stopped; `progress` is updated.

    Returns:
        The last held-out numbers, by row; None if no step was left.
    """
    recipe, steps, timer = task.recipe, task.batches.steps, CheckpointTimer()
    after: ByRow | None = None
    while progress["step"] < steps and not progress.get(STOPPED_BY_GUARD):
        step = progress["step"]
        rate = learning_rate(step, steps, recipe.optim)
        progress |= {"step": step + 1, "lr_sum": progress["lr_sum"] + rate}
        numbers = take_step(task, optimizer, step, rate) | {"lr": rate, "lr_sum": progress["lr_sum"]}
        task.tracker.log(step + 1, "train", numbers)
        ending = collectives.any_process(task.tracker.stopping)
        evaluating = is_due(step + 1, task.eval_every, recipe.rollout.updates)
        if ending or step + 1 == steps or evaluating:
            after = _evaluate_and_decide(task, progress)
        stopping = collectives.any_process(stop.made)
        if _save_due(recipe, progress, stopping or _time_to_save(recipe, timer)):
            with timer.saving():
                _save(task, optimizer, progress)
            if stopping and step + 1 < steps:
                how = f"stopped after step {step + 1} of {steps}; {resume_sentence(task.run)}."
                raise Interrupted(how, stop.number)
        if ending or collectives.any_process(task.tracker.stopping):
            break
    return after


def _evaluate_and_decide(task: Task, progress: dict[str, Any]) -> ByRow:
    """Evaluate, and return the held-out numbers by row.

    `progress` is updated by the guard, and if this model is the best so far.
    """
    held_out, now = evaluate_now(task, progress["step"])
    stopped = leaves_bounds(task, progress, now)
    progress |= {STOPPED_BY_GUARD: True} if stopped else best.found(task.recipe, held_out, progress)
    return now


def _time_to_save(recipe: Recipe, timer: CheckpointTimer) -> bool:
    return recipe.train.save_every is None and collectives.any_process(timer.due)


def measure_again(task: Task, step: int) -> ByRow:
    """Return the held-out numbers by row after `step` steps, without logging them.

    It is for a policy whose evaluation has been logged already.
    """
    with whole(task.policy):
        return measure_held_out(task, step)[1]


def leaves_bounds(task: Task, progress: dict[str, Any], now: ByRow) -> bool:
    """Return whether the guard stops the run at this evaluation.

    If so, the finding is printed and written to the findings of the run. The result is False between two
    updates on one rollout, where no checkpoint can be written.
    """
    if task.guard is None or progress["step"] % task.recipe.rollout.updates:
        return False
    finding = task.guard.look(progress, now)
    if finding:
        monitor.report(finding, task.run, task.tracker)
    return collectives.any_process(finding is not None)


def _keep_final(task: Task, after: ByRow, step: int) -> None:
    """Write the last held-out numbers, then the trained model, then its hashes.

    The existence of the model marks the run as trained.
    """
    if collectives.is_first():
        trained.write_numbers(task.run, after, step)
    save_policy(task, trained.model_folder(task.run))
    if collectives.is_first():
        trained.write_hashes(task.run, trained.model_files(task.run))


def resume_sentence(run: Path) -> str:
    """Return the part of an error message that describes how to resume.

    Under torchrun the option is `--run-folder`, since torchrun has an option `--run`.
    """
    if collectives.world() > 1:
        return f"run the same command with --run-folder {run} to resume"
    return f"`{resume_command(run)}` resumes it"


def save_policy(task: Task, folder: Path) -> None:
    """Write the policy in standard formats: adapters, whole weights, or a reward model with merged adapters.

    All processes must call it. The adapters of a reward model are merged permanently.
    """
    final = lora.merge(task.policy) if task.kind.head == "score" else task.policy
    with whole(final):
        if collectives.is_first():
            weights = whole_weights(final) if is_sharded(final) else None
            checkpoint.save_model(final, task.tokenizer, folder, weights)


def _save_due(recipe: Recipe, progress: dict[str, Any], wanted: bool) -> bool:
    """Return whether a checkpoint is due.

    None is due between two updates on one rollout, since the rollout could not be sampled again.
    """
    step, every = progress["step"], recipe.train.save_every
    wanted = wanted or progress.get("best_step") == step or progress.get(STOPPED_BY_GUARD, False)
    updates = recipe.rollout.updates
    return step % updates == 0 and (wanted or (every is not None and is_due(step, every, updates)))


def is_due(step: int, every: int, updates: int) -> bool:
    """Whether an evaluation or checkpoint that is wanted every `every` steps is due after `step`.

    It waits for the end of a rollout, which is used for `updates` steps: the guard and checkpoints act at no
    other step.

    >>> [step for step in range(1, 17) if is_due(step, 5, 1)]
    [5, 10, 15]
    >>> [step for step in range(1, 17) if is_due(step, 5, 4)]
    [8, 12, 16]
    """
    return step % updates == 0 and step // every > (step - updates) // every


def _save(task: Task, optimizer: torch.optim.Optimizer, done: dict[str, Any]) -> None:
    replicas.check_replicas(task.policy, f"after step {done['step']}")
    folder = task.run / "checkpoints" / f"step-{done['step']}"
    progress = done | {LOSS_SCALE: task.loss_scale.state()} if task.loss_scale.acts else done
    if collectives.is_first():
        progress = progress | {"logs": logs_now(task.run)}
    replay = task.replay.tensors() if task.replay is not None else None
    if is_sharded(task.policy):
        save_shards(folder, task.policy, optimizer, progress, replay)
    elif collectives.is_first():
        checkpoint.save_state(folder, task.policy, task.tokenizer, optimizer, progress, replay)
    _drop_older(task, done)


def _drop_older(task: Task, done: dict[str, Any]) -> None:
    if collectives.is_first():
        checkpoint.drop_older(task.run, task.recipe.train.keep, done.get("best_step"))


def evaluate_now(task: Task, step: int) -> tuple[dict[str, float], ByRow]:
    """Log the held-out numbers after `step` steps, and return them as means and by row."""
    with whole(task.policy):
        numbers, by_row = measure_held_out(task, step)
    if numbers:
        task.tracker.log(step, "eval", numbers)
    best.refuse_unmeasured(task.recipe, numbers)
    return numbers, by_row


def take_step(task: Task, optimizer: torch.optim.Optimizer, step: int, rate: float) -> dict[str, float]:
    """Take one optimizer step, and return its metrics."""
    started = time.perf_counter()
    batch = task.batches.batch(step)
    if batch.failures and step % task.recipe.rollout.updates == 0 and collectives.is_first():
        task.tracker.say(reward_failures.keep(task.run, step + 1, batch.failures), style="yellow")
    replicas.reseed(task.recipe.train.seed, step)
    trainable = [p for group in optimizer.param_groups for p in group["params"]]
    gathered, norm, clipped = gradient(task, batch, step, trainable)
    if gathered.weight == 0:  # only ties were sampled, or nothing could be scored: there is no gradient
        optimizer.zero_grad(set_to_none=True)
        return _without_loss(gathered) | batch.numbers | {"skipped": 1.0}
    if not math.isfinite(norm):
        optimizer.zero_grad(set_to_none=True)
        overflowed = {"overflowed": 1.0, "loss_scale": task.loss_scale.value}
        return gathered.summary() | batch.numbers | overflowed
    for group in optimizer.param_groups:
        group["lr"] = rate
    if norm or task.moved:
        optimizer.step()
        task.moved = True
    optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - started
    return (
        gathered.summary()
        | batch.numbers
        | ({"loss_scale": task.loss_scale.value} if task.loss_scale.acts else {})
        | {
            "grad_norm": norm,
            "clipped": float(clipped),
            **({} if task.kind.online else {"truncated_share": _share_truncated(batch.rows)}),
            "tokens_per_second": sum(row.tokens for row in batch.rows) / seconds,
            "seconds": seconds,
            "peak_memory_gb": peak_memory_gb(task.policy.device),
        }
    )


def _share_truncated(rows: Sequence[Row]) -> float:
    """Share of the rows that were cut at `data.max_length`."""
    return sum(row.truncated for row in rows) / len(rows)


def _without_loss(gathered: Gathered) -> dict[str, float]:
    """Return means over the rows of a step that has no loss.

    They show why it has none: the shares of answers that were truncated, had no score, or had equal rewards.
    """
    numbers = gathered.summary() if gathered.ids else {}
    return {name: value for name, value in numbers.items() if name != "loss"}


def gradient(
    task: Task, batch: Batch, step: int, trainable: Sequence[Parameter]
) -> tuple[Gathered, float, bool]:
    """Compute the mean gradient of a batch into the trainable weights.

    Returns:
        The metrics of the rows, the norm of the gradient before clipping, and whether it was clipped. If the
        weights of the rows sum to 0, the norm is 0 and the gradient is not divided. If a float16 gradient
        overflowed, the norm is not finite; the loss scale has then been lowered for the next step.

    Raises:
        UserError: a check of the first step fails, or the gradient is not finite and a lower loss scale
            cannot prevent that.
    """
    gathered = accumulate(task, batch.rows, step).of_all() if batch.rows else Gathered()
    if task.is_fresh(step) and batch.rows:
        initial_loss.check_fresh(
            gathered.rows(), completions=task.recipe.rollout.k, noise=task.token_noise, step=step
        )
    if gathered.weight == 0:
        return gathered, 0.0, False
    replicas.sum_gradients(trainable)
    scaled = gathered.weight * task.loss_scale.value
    norm, clipped = divide_and_clip(trainable, scaled, task.recipe.optim.clip)
    overflow = not math.isfinite(norm) and math.isfinite(gathered.loss)
    if overflow and task.loss_scale.lower():
        return gathered, norm, False
    task.loss_scale.took_step()
    if not math.isfinite(norm):
        task.tracker.log(step + 1, "train", gathered.summary() | batch.numbers | {"grad_norm": norm})
        raise UserError(_not_finite(task, gathered, step + 1))
    return gathered, norm, clipped


def first_gradient(task: Task) -> None:
    """Compute the gradient of the first step without changing the weights.

    Raises:
        UserError: for the reasons of `gradient`.
    """
    task.policy.train()
    trainable = [p for p in task.policy.parameters() if p.requires_grad]
    gradient(task, task.batches.batch(0), 0, trainable)


def _not_finite(task: Task, gathered: Gathered, step: int) -> str:
    """Return the error for a gradient that is not finite: likely causes, and the last good checkpoint."""
    measured = ("margin", "nll_per_token", "logp_per_token")
    by_row = gathered.by_row()
    broken = [
        id for name in measured for id, value in by_row.get(name, {}).items() if not math.isfinite(value)
    ]
    rows = f" (rows {', '.join(broken[:5])})" if 0 < len(broken) < len(gathered.ids) else ""
    good = checkpoint.latest_sound(task.run)
    kept = f"{good} is good" if good else "there is no checkpoint yet (train.save_every)"
    return f"step {step}: the gradient is not finite{rows}; lower optim.lr or check for bad rows; {kept}."


def accumulate(task: Task, rows: Sequence[Row], step: int) -> Gathered:
    """Run forward and backward over this process's micro-batches, and return the metrics of their rows.

    The resulting gradients are sums of `loss * weight`.
    """
    cfg = task.recipe.method.at(step / task.batches.steps)
    gathered = Gathered()
    old: OldLogps = {}
    first_of_several = task.is_fresh(step) and task.recipe.rollout.updates > 1
    if task.is_fresh(step):
        # Later updates need the old log-probabilities of every group, so with a KL term none is skipped.
        reference = task.reference if first_of_several else task.current_reference
        rows = zero_advantage.skip_zero_advantage(task.kind, task.method, reference, rows, cfg, gathered)
    else:
        rows = with_old_logps(rows, task.old_logps)
    if task.kind.mismatched:
        task.kl = _estimate_kl(task, _own_groups(task, mismatched_alone(rows)))
    outputs = _outputs_of(task, rows, step)
    for index, (group, counts) in enumerate(_own_groups(task, rows)):
        in_place = gradients_in_place(not is_sharded(task.policy))
        with task.arithmetic(), in_place, reusing(outputs):
            x = task.build(group)
            out = task.method.loss(x, cfg)
        if step == 0 and index == 0:
            found = initial_loss.check_initial_loss(
                x,
                out,
                task.method.loss,
                cfg,
                noise=task.token_noise,
                drawn=_drawn_here(task, group),
                reference=_reference_of_groups(task, group),
            )
            if found:
                task.tracker.say(found)
        out = _weighted_rows(out, group)
        (out.loss * (out.weight if counts else 0.0) * task.loss_scale.value).backward()
        if counts:
            gathered.add([row.id for row in group], x, out)
        if counts and first_of_several:
            old |= old_logps(group, x)
    if outputs is not None:
        outputs.clear()
    if first_of_several:
        task.old_logps = {id: logps for part in collectives.gather(old) for id, logps in part.items()}
    return gathered


def _weighted_rows(out: LossOutput, rows: Sequence[Row]) -> LossOutput:
    if all(row.weight == 1 for row in rows):
        return out
    return out.by_weights(torch.tensor([row.weight for row in rows], dtype=torch.float64))


def _estimate_kl(task: Task, forwards: Sequence[tuple[list[Row], bool]]) -> Tensor:
    assert task.reference is not None, "a method that estimates a KL has a reference"
    with task.arithmetic():
        return estimate_kl(task.policy, task.reference, forwards)


def _outputs_of(task: Task, rows: Sequence[Row], step: int) -> LinearOutputs | None:
    """Return the outputs of linear layers that sampling stored for the first update on `rows`.

    None if none are stored, or if they cannot be reused, which is then logged.
    """
    if task.outputs is None or not rows or not task.is_fresh(step):
        return None
    with task.arithmetic():
        fault = fault_of(task.policy, task.outputs, rows, step, task.temperature)
    if fault is not None:
        task.tracker.say(f"step {step}: {fault}; they are recomputed.", style="yellow")
    return task.outputs if fault is None else None


def _reference_of_groups(task: Task, rows: Sequence[Row]) -> torch.Tensor | None:
    """Return the reference's log-probabilities of sampled groups; None for other rows or without one."""
    if task.kind.samples != "group" or task.reference is None:
        return None
    with task.arithmetic():
        return task.reference(rows)


def _drawn_here(task: Task, rows: Sequence[Row]) -> torch.Tensor | None:
    """Return the log-probabilities with which this process sampled the pairs, `(rows, 2)`.

    None if they were sampled by a server, or are not sampled pairs.
    """
    drawn = [[c.sampled_logp for c in row.completions] for row in rows]
    if task.kind.samples != "pair" or task.recipe.rollout.backend != "local":
        return None
    return None if any(None in pair for pair in drawn) else torch.tensor(drawn)


def _own_groups(task: Task, rows: Sequence[Row]) -> list[tuple[list[Row], bool]]:
    """Return this process's micro-batches, each with whether it counts.

    Sharded weights are gathered by all processes at once, so every process must run the same number of
    forwards. Those with fewer micro-batches run a short row several times, with weight 0.
    """
    limit = task.tokens_per_forward
    own = [(group, True) for group in micro_batches(collectives.share(rows), limit)]
    if not is_sharded(task.policy):
        return own
    most = max(len(micro_batches(collectives.share(rows, n), limit)) for n in range(collectives.world()))
    spare = min(rows, key=lambda row: row.tokens)
    return own + [([spare], False)] * (most - len(own))


@torch.no_grad()
def evaluate_rows(task: Task, rows: Sequence[Row], progress: float, *, unmoved: bool = False) -> Gathered:
    """Compute the method's loss and metrics on `rows`, without dropout and gradient.

    Args:
        progress: fraction of the run that is done, for schedules.
        unmoved: whether the policy is still the start model, so that stored log-probabilities of the
            reference are used in place of a forward.
    """
    gathered, limit = Gathered(), task.tokens_per_forward
    build = task.build_at_start if unmoved else task.build
    training = task.policy.training
    task.policy.eval()
    cfg = task.recipe.method.at(progress)
    if task.kind.mismatched and not unmoved:
        others = micro_batches(collectives.share(mismatched_alone(rows)), limit)
        task.kl = _estimate_kl(task, [(group, True) for group in others])
    for group in micro_batches(collectives.share(rows), limit):
        with task.arithmetic():
            x = build(group)
            gathered.add([row.id for row in group], x, task.method.loss(x, cfg))
    task.policy.train(training)
    return gathered.of_all()


def measure_held_out(task: Task, step: int) -> tuple[dict[str, float], ByRow]:
    """Return all held-out numbers at this step, as means and by row."""
    numbers: dict[str, float] = {}
    by_row: ByRow = {}
    if task.eval_rows:
        gathered = evaluate_rows(task, task.eval_rows, step / task.batches.steps, unmoved=step == 0)
        numbers, by_row = gathered.summary(), gathered.by_row()
    for probe in task.probes:
        for name, values in probe(step).items():
            by_row[name] = values
            numbers[name] = mean_of_known(values.values())
    return numbers | support(by_row, task.same_prompts.answers), by_row
