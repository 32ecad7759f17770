"""`boresight check --probe`: the forecast of a run from a learning-rate ramp of its own model and pairs.

probe = probe_run(recipe, console)
probe.ramp.limit.budget        # the largest sum of learning rates without harm
probe.suggestion.settings      # ["optim.lr=9.4e-05"]
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from boresight.checks.forecast.answer_distance import AnswerDistance
from boresight.checks.forecast.ramp import Ramp, RampPoint
from boresight.checks.forecast.row_mean import RowMean
from boresight.checks.forecast.suggestion import Suggestion, suggest
from boresight.config.dotted import apply_override
from boresight.config.recipe import Recipe
from boresight.core.console import name_table
from boresight.core.errors import UserError
from boresight.core.files import read_state, write_state
from boresight.core.printable import Printable
from boresight.data.prepare import DatasetCache
from boresight.methods.published import LADDERS
from boresight.runs.check.lr_ramp import measure_ramp, ramp_rates
from boresight.runs.check.preflight import Report, preflight
from boresight.runs.check.rollout_probe import probe_rollouts, with_findings
from boresight.stats.units import format_duration
from boresight.training.forward import kind_of
from boresight.training.optim import learning_rate_sum

HIGHEST = 10.0
"""Highest rate of a ramp, in units of the highest published one; the recipe's own where that is more."""
FILE = "ramp.json"
"""In the run folder."""
PAST = 1.5
"""A ramp spends so much more than the run, where that takes no higher rate."""


@dataclass(frozen=True)
class ProbedRun(Printable):
    """A ramp, the forecast made from it, and settings that spend as much as the ramp found harmless."""

    recipe: Recipe
    report: Report
    ramp: Ramp
    steps: int
    planned: float
    suggestion: Suggestion
    arguments: Sequence[str] = ("RECIPE",)

    def show(self, console: Console) -> None:
        """Print the ramp, what it found harmless, and the command."""
        console.print(ramp_table(self.ramp))
        console.print(name_table(self.lines(), style="dim"))
        console.print(f"  {self.command}", markup=False, highlight=False)

    @property
    def command(self) -> str:
        """The run with the suggested settings."""
        new = self.suggestion.settings
        names = {setting.partition("=")[0] for setting in new}
        kept = [argument for argument in self.arguments if argument.partition("=")[0] not in names]
        return shlex.join(["boresight", "train", *kept, *new])

    def lines(self) -> list[tuple[str, str]]:
        """What the ramp says of the planned run, by name."""
        limit, times = self.ramp.limit, self.planned / self.ramp.limit.budget
        harmless = f"up to a sum of {limit.budget:.2g}"
        harmless += f", where {limit.why}" if limit.why else ", the end of the ramp"
        planned = f"{self.planned:.2g}, {times:.2g} times that"
        seconds = median(point.seconds for point in self.ramp.points) * self.per_step
        memory = max(point.peak_memory_gb for point in self.ramp.points)
        return [
            *answers_in_words(self.ramp.answers),
            ("harmless", harmless),
            ("planned run", planned),
            (
                "time",
                f"{self.steps:,} steps of about {seconds:.2g} s: {format_duration(seconds * self.steps)}",
            ),
            ("memory", f"{memory:.1f} GB at the most in the ramp"),
            ("suggested", f"a sum of {limit.budget:.2g}:"),
        ]

    @property
    def per_step(self) -> float:
        """Rows of a step of the run, in units of a step of the ramp."""
        return self.recipe.train.batch / self.ramp.batch


def read_ramp(run: Path) -> Ramp | None:
    """The ramp that a run was planned by; None where there was none. Raises `UserError` if it was edited."""
    file = run / FILE
    return Ramp.from_dict(read_state(file)) if file.is_file() else None


def write_ramp(run: Path, ramp: Ramp) -> None:
    """Keep the ramp that a run was planned by."""
    write_state(run / FILE, ramp.as_dict())


def choose_rate(
    recipe: Recipe, begun: Mapping[str, Any] | None, console: Console
) -> tuple[Recipe, Ramp | None]:
    """The recipe with a number for `optim.lr: auto`, and the ramp that it was chosen by.

    Args:
        begun: resolved recipe of the run that goes on, whose rate and length are taken; None for a new run.

    Raises:
        UserError: as for `probe_run`.
    """
    if recipe.optim.lr != "auto":
        return recipe, None
    if begun:
        taken = [("optim", "lr"), ("train", "epochs"), ("train", "steps")]
        settings = [f"{section}.{name}={json.dumps(begun[section][name])}" for section, name in taken]
        return with_settings(recipe, settings), None
    probed = probe_run(with_highest_rate(recipe), console)
    probed.show(console)
    settings = probed.suggestion.settings
    console.print(f"optim.lr=auto: {' '.join(settings)}", markup=False, highlight=False)
    return with_settings(recipe, settings), probed.ramp


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with overrides as the command line takes them."""
    raw = recipe.to_dict()
    for setting in settings:
        apply_override(raw, setting)
    return Recipe.parse(raw)


def with_highest_rate(recipe: Recipe) -> Recipe:
    """The recipe with the highest rate that is tried, for one whose rate is still to be chosen."""
    return with_settings(recipe, [f"optim.lr={HIGHEST * published_rates(recipe)[-1]}"])


def published_rates(recipe: Recipe) -> tuple[float, ...]:
    """Learning rates that others use for this kind of training, from the lowest."""
    return LADDERS[kind_of(recipe).data, recipe.model.lora is not None].lrs


def check_by_probe(recipe: Recipe, console: Console, arguments: Sequence[str]) -> Report:
    """Preflight with a ramp, or rollouts for a method that samples, where nothing stops the run before.

    Prints what was measured.

    Args:
        arguments: recipe and overrides of the suggested command.

    Raises:
        UserError: a ramp cannot be made.
    """
    if recipe.optim.lr == "auto":
        recipe = with_highest_rate(recipe)
    found = preflight(recipe)
    if found.stop:
        return found
    if kind_of(recipe).online:
        rollouts = probe_rollouts(recipe, DatasetCache(), console)
        rollouts.show(console)
        return with_findings(found, rollouts)
    probed = probe_run(recipe, console, report=found, arguments=arguments)
    probed.show(console)
    return probed.report


def probe_run(
    recipe: Recipe,
    console: Console,
    *,
    report: Report | None = None,
    arguments: Sequence[str] = ("RECIPE",),
) -> ProbedRun:
    """Measure a ramp for a recipe, and forecast the run from it.

    Args:
        report: what the preflight found; None makes it.
        arguments: recipe and overrides of the suggested command.

    Raises:
        UserError: what `boresight train` would raise before its first step, or a ramp cannot be made.
    """
    datasets = DatasetCache()
    report = report or preflight(recipe, datasets=datasets)
    if report.stop:
        raise UserError(report.stop)
    assert report.forecast is not None, "the data was read, so the number of steps is known"
    steps = report.forecast.steps
    planned = learning_rate_sum(steps, recipe.optim)
    ramp = measure_ramp(recipe, datasets, console, top_rate(recipe, planned))
    return ProbedRun(
        recipe=recipe,
        report=preflight(recipe, datasets=datasets, ramp=ramp),
        ramp=ramp,
        steps=steps,
        planned=planned,
        suggestion=suggest(recipe, steps, ramp.limit.budget),
        arguments=arguments,
    )


def top_rate(recipe: Recipe, planned: float) -> float:
    """Highest rate of the ramp: so that it spends more than the planned run, within `HIGHEST`."""
    published = published_rates(recipe)[-1]
    wanted = PAST * planned / sum(ramp_rates(1.0))
    highest = max(recipe.optim.peak, HIGHEST * published)
    return max(published, min(wanted, highest))


def answers_in_words(found: AnswerDistance | None) -> list[tuple[str, str]]:
    """How likely the start model finds the pairs' answers and its own, in a line."""
    if found is None:
        return []
    said = f"chosen {found.chosen.mean:.2f}, rejected {found.rejected.mean:.2f}, own {found.own.mean:.2f}"
    return [("answers", f"{said} nats per token under the start model ({found.own.n} prompts)")]


def ramp_table(ramp: Ramp) -> Table:
    """What was measured after each step, in nats; likelihoods and KL are per token."""
    table = Table(
        title="learning-rate ramp, nats; chosen, rejected and KL per token",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("sum of rates", "gain", "accuracy", "chosen", "rejected", "KL"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in ramp.points:
        table.add_row(*_cells(point))
    return table


def _cells(point: RampPoint) -> list[str]:
    values = (
        point.gain,
        point.accuracy,
        point.chosen_per_token,
        point.rejected_per_token,
        point.kl_per_token,
    )
    return [f"{point.budget:.2e}", *(_cell(value) for value in values)]


def _cell(value: RowMean | None) -> str:
    if value is None:
        return "–"
    return f"{value.mean:.2g} ±{value.half_width:.1g}"
