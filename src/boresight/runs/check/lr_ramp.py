"""A learning-rate ramp: a few steps of the user's own run at growing rates, measured every `EVERY` steps.

    ramp = measure_ramp(recipe, DatasetCache(), console)
    ramp.points[-1].gain           # RowMean(mean, error, n) at the last measurement, nats

The model, method, adapters, dtype and data are those of the recipe. Rates grow by the same factor from step
to step, so that the sums of learning rates of a few steps cover two decades. Measurements use rows of the
training data that the ramp does not train on and whose prompts do not occur in the rows that it trains on;
the evaluation set is not used. The trained weights are discarded.
"""

from __future__ import annotations

import math
import tempfile
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console

from boresight.checks.forecast.answer_distance import AnswerDistance
from boresight.checks.forecast.ramp import Ramp, RampPoint
from boresight.checks.forecast.row_mean import RowMean
from boresight.config.recipe import Recipe
from boresight.core.console import Terminal, progress
from boresight.core.errors import UserError
from boresight.core.wording import plural
from boresight.data.prepare import Dataset, DatasetCache, Prepared, prepare
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.stored.digests import group_numbers
from boresight.data.tokenizer import Tokenizer
from boresight.models.kernels.allocator import releasing_memory
from boresight.models.sampler.generate import stopping_at_turns
from boresight.models.sampler.params import SamplingParams
from boresight.models.sampler.sample import sample
from boresight.runs.loading import load_run
from boresight.stats.paired import ByRow
from boresight.training.forward import kind_of
from boresight.training.loop import Task, measure_held_out, take_step
from boresight.training.optimizer.adamw import make_optimizer
from boresight.training.probes.kl import KLProbe

STEPS = 16
"""Number of steps of a ramp."""
SPAN = 64.0
"""Ratio of the last learning rate to the first."""
BATCH = 16
"""Maximum number of rows per step."""
MEASURED = 96
"""Number of rows to measure; a few more if several rows share the last prompt."""
EVERY = 2
"""Number of steps between measurements."""
FEWEST = 8
"""Minimum number of rows to train on, and of rows to measure; with fewer there is no ramp."""
SAMPLED = 32
"""Maximum number of prompts for which the start model generates answers."""
LONGEST_SAMPLE = 128
"""Maximum length of a generated answer, in tokens; the median length of chosen answers if that is smaller."""
BROKEN_KL = 1.0
"""KL, nats per token, at which the ramp ends early because the model has degenerated."""


@releasing_memory()
def measure_ramp(recipe: Recipe, datasets: DatasetCache, console: Console, top: float) -> Ramp:
    """Train a few steps of `recipe` at growing learning rates, and measure every `EVERY` steps.

    Args:
        top: learning rate of the last step.

    Raises:
        UserError: what `boresight train` would raise before its first step; a method that samples its own
            answers; fewer than `FEWEST` rows to train on or to measure.
    """
    if kind_of(recipe).online:
        raise UserError(
            f"optim.lr: {recipe.method_name} learns from answers that it samples, and a ramp needs given "
            "ones; give a number."
        )
    small = ramp_recipe(recipe)
    _stage(console, "loading model and data")
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_run(small, datasets, Path(folder), Terminal(quiet=True), preparing=hold_out_for_ramp)
        task = loaded.task
        if kind_of(recipe).head == "lm" and not kind_of(recipe).needs_reference:
            task.probes = [*task.probes, KLProbe(task.policy, task.eval_rows[: small.evaluate.kl_rows])]
        return run_ramp(task, ramp_rates(top), console)


def ramp_rates(top: float, steps: int = STEPS, span: float = SPAN) -> list[float]:
    """Return the learning rate of each step; the rates grow by a constant factor, and the last is `top`."""
    return [top * span ** (step / (steps - 1) - 1) for step in range(steps)]


def run_ramp(task: Task, rates: Sequence[float], console: Console) -> Ramp:
    """Train one step per rate, and measure every `EVERY` steps; ends early if the model degenerates."""
    optimizer = make_optimizer(task.policy, task.recipe.optim)
    _stage(console, f"measuring the start model on {plural(len(task.eval_rows), 'row')}")
    numbers, first = measure_held_out(task, 0)
    start, budget = point_of(numbers, first, first), 0.0
    answers = answer_distance(task, first, console)
    points: list[RampPoint] = []
    task.policy.train()
    with progress(console, "learning-rate ramp", len(rates)) as advance:
        for step, rate in enumerate(rates):
            taken = take_step(task, optimizer, step, rate)
            budget += rate
            if (step + 1) % EVERY:
                continue
            numbers, found = measure_held_out(task, step + 1)
            points.append(point_of(numbers, found, first, rate=rate, budget=budget, taken=taken))
            if is_broken(points[-1]):
                break
            advance(EVERY)  # after a measurement, so that the estimated time includes measurements
    return Ramp(start, tuple(points), task.recipe.train.batch, answers)


def _stage(console: Console, what: str) -> None:
    console.print(f"learning-rate ramp: {what}", highlight=False)


def is_broken(point: RampPoint) -> bool:
    """Whether the model has degenerated: the loss is not finite, or the KL is not below `BROKEN_KL`."""
    kl = point.kl_per_token
    return not math.isfinite(point.loss) or (kl is not None and not kl.mean < BROKEN_KL)


def point_of(
    numbers: Mapping[str, float],
    found: ByRow,
    first: ByRow,
    *,
    rate: float = 0.0,
    budget: float = 0.0,
    taken: Mapping[str, float] | None = None,
) -> RampPoint:
    """Build the measurement after a step; gains and changes are differences from the measurement `first`.

    Args:
        numbers: means of the held-out numbers.
        found: held-out numbers by row.
        first: held-out numbers by row before the first step.
        rate: learning rate of the step.
        budget: sum of the learning rates so far.
        taken: metrics of the step; None before the first step.
    """
    taken = taken or {}
    if "margin" in found:
        gain = row_differences(found["margin"], first["margin"])
    else:
        gain = row_differences(first["nll_per_token"], found["nll_per_token"])
    moved = {side: change_per_token(found, first, side) for side in ("chosen", "rejected")}
    return RampPoint(
        rate=rate,
        budget=budget,
        gain=RowMean.of(gain),
        loss=numbers["loss"],
        accuracy=RowMean.of(found["accuracy"].values()) if "accuracy" in found else None,
        chosen_per_token=moved["chosen"],
        rejected_per_token=moved["rejected"],
        kl_per_token=RowMean.of(found["kl_per_token"].values()) if "kl_per_token" in found else None,
        grad_norm=taken.get("grad_norm", math.nan),
        seconds=taken.get("seconds", 0.0),
        peak_memory_gb=taken.get("peak_memory_gb", 0.0),
        tokens=taken.get("tokens_per_second", 0.0) * taken.get("seconds", 0.0),
    )


def change_per_token(found: ByRow, first: ByRow, side: str) -> RowMean | None:
    """Return the mean change of one side's log-probabilities, nats per token.

    Returns None if no row has this side.

    Args:
        found: held-out numbers by row after a step.
        first: held-out numbers by row before the first step.
        side: `chosen` or `rejected`.
    """
    if f"{side}_logps" not in found:
        return None
    mean = RowMean.of(row_differences(per_token(found, side), per_token(first, side)))
    return mean if mean.n else None


def per_token(found: ByRow, side: str) -> dict[str, float]:
    """Return the log-probabilities of one side's answers (`chosen` or `rejected`) by row, nats per token."""
    return {id: value / found[f"{side}_len"][id] for id, value in found[f"{side}_logps"].items()}


def answer_distance(task: Task, first: ByRow, console: Console | None = None) -> AnswerDistance | None:
    """Compare the likelihood of the pairs' answers with that of the start model's own samples.

    The samples are answers to the same prompts. Returns None for data other than pairs.

    Args:
        first: held-out numbers by row before the first step.
        console: console for the progress of the sampling.
    """
    if "chosen_logps" not in first:
        return None
    rows = task.eval_rows[:SAMPLED]
    lengths = [length for length in first["chosen_len"].values() if not math.isnan(length)]
    longest = min(LONGEST_SAMPLE, round(median(lengths or first["rejected_len"].values())))
    params = SamplingParams(max_new_tokens=longest, temperature=1.0, seed=task.recipe.train.seed)
    params = stopping_at_turns(task.policy, params)
    drawn = sample(task.policy, [row.prompt for row in rows], params, k=1, console=console)
    own = {row.id: float(group[0].logps.mean()) for row, group in zip(rows, drawn, strict=True)}
    return AnswerDistance.of(own, per_token(first, "chosen"), per_token(first, "rejected"))


def row_differences(later: Mapping[str, float], earlier: Mapping[str, float]) -> list[float]:
    """Return the differences `later - earlier`, row by row."""
    return [value - earlier[id] for id, value in later.items()]


def ramp_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe for a ramp: few rows, and no answers to prompts, probes or rewards.

    All other settings are unchanged.
    """
    batch = min(BATCH, recipe.train.batch)
    limit = STEPS * batch + 2 * MEASURED  # more than needed, since some are too long or share a prompt
    limit = min(limit, recipe.data.limit) if recipe.data.limit else limit
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"limit": limit}),
            "train": recipe.train.model_copy(update={"batch": batch, "steps": STEPS, "epochs": None}),
            "evaluate": recipe.evaluate.model_copy(update={"samples": 0, "prompts": None, "rewarded": 0}),
            "check": recipe.check.model_copy(update={"probes": 0}),
            "reward": [],
        }
    )


def hold_out_for_ramp(data: Dataset, tokenizer: Tokenizer, console: Console) -> Prepared:
    """Prepare the training data, and divide its rows into rows to train on and rows to measure.

    The rows to measure take the place of the held-out rows. They have other prompts than the rows to train
    on: whole prompts are reserved until there are `MEASURED` rows, or a third of all if that is fewer.

    Raises:
        UserError: there are fewer than `FEWEST` rows to train on or to measure.
    """
    made = prepare(data, tokenizer, console)
    side = made.train
    keys = group_numbers(map(prompt_key, side.examples))
    wanted = min(MEASURED, len(side.rows) // 3)
    measured: dict[int, list[int]] = {}
    rest = array("q")
    for place, owner in enumerate(side.owners):
        key = int(keys[owner])
        if key in measured or sum(map(len, measured.values())) < wanted:
            measured.setdefault(key, []).append(place)
        else:
            rest.append(place)
    held = [place for places in measured.values() for place in places]
    if len(held) < FEWEST or len(rest) < FEWEST:
        raise UserError(
            f"data.train: a learning-rate ramp needs {FEWEST} rows to train on and {FEWEST} to measure, and "
            f"there are {len(rest)} and {len(held)}; leave --probe out, and give optim.lr a number."
        )
    return Prepared(train=side.pick(rest), eval=side.pick(held))
