"""`boresight check --probe` for methods that sample: the learning signal in rollouts of the start model.

    probed = probe_rollouts(recipe, DatasetCache(), console)
    probed.start.unequal          # share of prompts whose samples have different rewards, with interval
    probed.signal_to_noise        # of the gradient of one step

No optimizer step is taken. The gradient is computed separately on two halves of a rollout: the part that both
have in common is signal, their difference is noise.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console

from boresight.checks.run.rollouts import SampledStart
from boresight.config.recipe import Recipe
from boresight.core.console import Terminal, name_table, progress
from boresight.core.printable import Printable
from boresight.core.wording import format_duration, percent
from boresight.data.prepare import DatasetCache
from boresight.data.rows import Row
from boresight.models.kernels.allocator import releasing_memory
from boresight.runs.loading import load_run
from boresight.stats.intervals import share_interval
from boresight.training.forward import kind_of
from boresight.training.loop import Batch, Task, gradient
from boresight.training.memory import peak_memory_gb

PROMPTS = 64
"""Number of prompts to sample, rounded up to whole batches; fewer if the run has fewer."""


@dataclass(frozen=True)
class RolloutProbe(Printable):
    """Measurements on rollouts of the start model.

    `sampling` is the time of one rollout with its scores and `gradient` the time of the gradient of one step,
    both in seconds. `signal_to_noise` is a ratio of squared norms, NaN where no row has a gradient. `batch`
    is the number of prompts per rollout, `memory_gb` the peak memory of the process in GB.
    """

    start: SampledStart
    sampling: float
    gradient: float
    signal_to_noise: float
    batch: int
    memory_gb: float = 0.0
    updates: int = 1
    """Number of steps that use one rollout."""

    @property
    def seconds(self) -> float:
        """Time of sampling, scoring and one gradient, in seconds."""
        return self.sampling + self.gradient

    def show(self, console: Console) -> None:
        """Print the measurements as a table."""
        unequal = self.start.unequal
        lines = [
            (
                "unequal rewards",
                f"{percent(unequal.value)} of {unequal.n} prompts "
                f"({percent(unequal.low)} to {percent(unequal.high)})",
            ),
            ("mean reward", f"{self.start.reward:.3g}"),
            ("a step", f"{format_duration(self.seconds)} for {self.batch} prompts × {self.start.per_prompt}"),
            ("signal to noise", self._signal()),
        ]
        console.print(name_table(lines, title="rollouts of the start model", style="dim"))

    def _signal(self) -> str:
        if math.isnan(self.signal_to_noise):
            return "no gradient"
        if self.signal_to_noise <= 0:
            return f"none is seen in a gradient of {self.batch} prompts"
        prompts = math.ceil(self.batch / self.signal_to_noise)
        return f"{self.signal_to_noise:.2g} in a gradient of {self.batch} prompts; 1 takes about {prompts:,}"


@releasing_memory()
def probe_rollouts(recipe: Recipe, datasets: DatasetCache, console: Console) -> RolloutProbe:
    """Sample and score prompts of the training data as the run's first steps would, and compute one gradient.

    Raises:
        UserError: what `boresight train` would raise before its first step.
    """
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_run(recipe, datasets, Path(folder), Terminal(quiet=True))
        task = loaded.task
        updates = recipe.rollout.updates if kind_of(recipe).samples == "group" else 1
        wanted = min(task.batches.steps // updates, math.ceil(PROMPTS / recipe.train.batch))
        drawn: list[Batch] = []
        started = time.monotonic()
        with progress(console, "rollouts", wanted) as advance:
            for number in range(wanted):
                drawn.append(task.batches.batch(number * updates))
                advance(1)
        sampling = (time.monotonic() - started) / wanted
        started = time.monotonic()
        signal = signal_to_noise(task, drawn[0].rows)
        return RolloutProbe(
            start=sampled_start(recipe, drawn),
            sampling=sampling,
            gradient=time.monotonic() - started,
            signal_to_noise=signal,
            batch=recipe.train.batch,
            memory_gb=peak_memory_gb(task.policy.device),
            updates=updates,
        )


def sampled_start(recipe: Recipe, drawn: Sequence[Batch]) -> SampledStart:
    """Return statistics of the rewards in the first rollouts.

    Prompts without a row, such as pairs with tied rewards, count as prompts with equal rewards.
    """
    per_prompt = recipe.rollout.k if kind_of(recipe).samples == "group" else 2
    asked = round(drawn[-1].numbers["verifier_calls"]) // per_prompt  # the last batch may be smaller
    rows = [row for batch in drawn for row in _new_rows(batch)]
    unequal = sum(unequal_scores(row) for row in rows)
    rewards = [score for row in rows for score in row.scores if not math.isnan(score)]
    logged = [batch.numbers["reward"] for batch in drawn if "reward" in batch.numbers]
    return SampledStart(
        unequal=share_interval([1.0] * unequal + [0.0] * (asked - unequal)),
        reward=fmean(logged or rewards or [math.nan]),
        per_prompt=per_prompt,
    )


def _new_rows(batch: Batch) -> Sequence[Row]:
    """The rows of a batch without the pairs of earlier rollouts at its end, all of which are unequal."""
    return batch.rows[: len(batch.rows) - round(batch.numbers.get("replayed", 0.0))]


def unequal_scores(row: Row) -> bool:
    """Whether two samples of a prompt earned different rewards."""
    known = {score for score in row.scores if not math.isnan(score)}
    return len(known) > 1


def signal_to_noise(task: Task, rows: Sequence[Row]) -> float:
    """Return the signal-to-noise ratio of the gradient of all `rows`: |mean gradient|² / |noise|².

    The rows are divided into two halves with gradients a and b. Then a·b is an unbiased estimate of the
    squared norm of the mean gradient, and |a-b|²/4 one of the squared norm of its noise. The ratio is NaN if
    one half has no gradient, and may be negative if noise dominates.
    """
    halves = [rows[start::2] for start in (0, 1)]
    if not all(halves):
        return math.nan
    first, second = (flat_gradient(task, half) for half in halves)
    noise = float((first - second).square().sum()) / 4
    if not float(first.abs().sum()) or not float(second.abs().sum()) or not noise:
        return math.nan
    return float(first @ second) / noise


def flat_gradient(task: Task, rows: Sequence[Row]) -> torch.Tensor:
    """Return the unclipped gradient of `rows` as one vector `(parameters,)`.

    The policy's `.grad` are None afterwards.
    """
    trainable = [p for p in task.policy.parameters() if p.requires_grad]
    clip = task.recipe.optim.clip
    unclipped = replace(task, recipe=_without_clipping(task.recipe)) if clip is not None else task
    gradient(unclipped, Batch(rows), 0, trainable)
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in trainable])
    for parameter in trainable:
        parameter.grad = None
    return flat.detach()


def _without_clipping(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"clip": None})})
