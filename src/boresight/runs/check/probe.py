"""`boresight check --probe`: the forecast of a run from a learning-rate ramp of its own model and pairs.

probe = probe_run(recipe, console)
probe.ramp.limit.budget        # the largest sum of learning rates without harm
probe.suggestion.settings      # ["optim.lr=9.4e-05"]
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console

from boresight.checks.forecast.ramp import Ramp
from boresight.checks.forecast.suggestion import Suggestion, suggest
from boresight.checks.run import machine, rollouts
from boresight.config.recipe import Recipe
from boresight.core.console import name_table
from boresight.core.errors import UserError
from boresight.core.printable import Printable
from boresight.data.prepare import DatasetCache
from boresight.findings.finding import checks_of, ranked, run_checks
from boresight.methods.published import LADDERS
from boresight.runs.check.forecast_table import load_lines
from boresight.runs.check.lr_ramp import measure_ramp, ramp_rates
from boresight.runs.check.preflight import Report, allowed, preflight
from boresight.runs.check.probed_use import use_by_rollouts
from boresight.runs.check.ramp_table import answers_in_words, ramp_table
from boresight.runs.check.rollout_probe import RolloutProbe, probe_rollouts
from boresight.training.forward import kind_of
from boresight.training.optimizer.learning_rate import learning_rate_sum

HIGHEST = 10.0
"""Maximum learning rate of a ramp, as a multiple of the highest published rate.

The recipe's own rate is allowed, even if it is higher.
"""
PAST = 1.5
"""Ratio of the ramp's sum of learning rates to the planned run's, unless the maximum rate prevents it."""


@dataclass(frozen=True)
class ProbedRun(Printable):
    """A ramp, the forecast made from it, and suggested settings, whose sum of learning rates is the largest
    harmless one.

    `planned` is the sum of learning rates of the recipe; None if `optim.lr` is `auto`, where `recipe` and
    `report` have the suggested settings.
    """

    recipe: Recipe
    report: Report
    ramp: Ramp
    planned: float | None
    suggestion: Suggestion
    arguments: Sequence[str] = ("RECIPE",)

    def show(self, console: Console) -> None:
        """Print the ramp, the largest harmless sum of learning rates, and the command."""
        console.print(ramp_table(self.ramp))
        console.print(name_table(self.lines(), style="dim"))
        console.print(f"  {self.command}", markup=False, highlight=False, soft_wrap=True)

    @property
    def command(self) -> str:
        """The command that trains with the suggested settings."""
        new = self.suggestion.settings
        names = {setting.partition("=")[0] for setting in new}
        kept = [argument for argument in self.arguments if argument.partition("=")[0] not in names]
        return shlex.join(["boresight", "train", *kept, *new])

    def lines(self) -> list[tuple[str, str]]:
        """Return `(label, text)` for each quantity of the planned run that the ramp forecasts."""
        limit = self.ramp.limit
        harmless = f"up to a sum of {limit.budget:.2g}"
        harmless += f", where {limit.why}" if limit.why else ", the end of the ramp"
        return [
            *answers_in_words(self.ramp.answers),
            ("harmless", harmless),
            *self._planned(),
            *load_lines(self.report.load),
            ("suggested", f"a sum of {limit.budget:.2g}:"),
        ]

    def _planned(self) -> list[tuple[str, str]]:
        if self.planned is None:
            return []
        times = self.planned / self.ramp.limit.budget
        return [("planned run", f"a sum of {self.planned:.2g}, {times:.2g} times that")]


def published_rates(recipe: Recipe) -> tuple[float, ...]:
    """Return the published learning rates for this kind of training, ascending."""
    return LADDERS[kind_of(recipe).data, recipe.model.lora is not None].lrs


def check_by_probe(recipe: Recipe, console: Console, arguments: Sequence[str]) -> Report:
    """Run the preflight checks, then a ramp or, for a method that samples, rollouts.

    Ramp and rollouts are skipped if an error stops the run; otherwise their measurements are printed.

    Args:
        arguments: recipe and overrides of the current command, for the command that is suggested.

    Raises:
        UserError: a ramp cannot be made.
    """
    found = preflight(with_top_rate(recipe))
    if found.stop:
        return found
    if kind_of(recipe).online:
        rollouts = probe_rollouts(recipe, DatasetCache(), console)
        rollouts.show(console)
        return with_rollouts(recipe, found, rollouts)
    probed = probe_run(recipe, console, report=found, arguments=arguments)
    probed.show(console)
    return probed.report


def with_rollouts(recipe: Recipe, report: Report, probed: RolloutProbe) -> Report:
    """The preflight's report with the findings on rollouts, and their time and memory."""
    of_rollouts = (allowed(recipe, finding) for finding in run_checks(rollouts, probed.start))
    found = [*report.findings, *of_rollouts]
    if report.load is None or report.forecast is None:
        return replace(report, findings=ranked(found))
    load = replace(report.load, measured=use_by_rollouts(report.load, probed, report.forecast.steps))
    estimated = {check.__name__ for check in checks_of(machine)}
    found = [finding for finding in found if finding.name not in estimated]
    again = [allowed(load.recipe, finding) for finding in run_checks(machine, load)]
    return replace(report, load=load, findings=ranked([*found, *again]))


def probe_run(
    recipe: Recipe,
    console: Console,
    *,
    report: Report | None = None,
    arguments: Sequence[str] = ("RECIPE",),
) -> ProbedRun:
    """Measure a ramp for a recipe, and forecast the run from it.

    Args:
        report: result of the preflight; None runs the preflight.
        arguments: recipe and overrides of the current command, for the command that is suggested.

    Raises:
        UserError: what `boresight train` would raise before its first step, or a ramp cannot be made.
    """
    datasets, tried = DatasetCache(), with_top_rate(recipe)
    report = report or preflight(tried, datasets=datasets)
    if report.stop:
        raise UserError(report.stop)
    assert report.forecast is not None, "the data was read, so the number of steps is known"
    steps = report.forecast.steps
    planned = learning_rate_sum(steps, tried.optim)
    ramp = measure_ramp(tried, datasets, console, top_rate(tried, planned))
    suggestion = suggest(tried, steps, ramp.limit.budget, report.rows)
    chosen = recipe.optim.lr != "auto"
    meant = recipe if chosen else recipe.changed(suggestion.settings)
    return ProbedRun(
        recipe=meant,
        report=preflight(meant, datasets=datasets, ramp=ramp),
        ramp=ramp,
        planned=planned if chosen else None,
        suggestion=suggestion,
        arguments=arguments,
    )


def with_top_rate(recipe: Recipe) -> Recipe:
    """Return the recipe, with the highest rate of a ramp in place of `optim.lr: auto`."""
    if recipe.optim.lr != "auto":
        return recipe
    return recipe.changed([f"optim.lr={HIGHEST * published_rates(recipe)[-1]}"])


def top_rate(recipe: Recipe, planned: float) -> float:
    """Return the learning rate of the ramp's last step.

    The rates of the ramp then sum to `PAST` times those of the planned run (`planned`). The result is at
    least the highest published rate, and at most `HIGHEST` times that or the recipe's own rate, whichever is
    larger.
    """
    published = published_rates(recipe)[-1]
    wanted = PAST * planned / sum(ramp_rates(1.0))
    highest = max(recipe.optim.peak, HIGHEST * published)
    return max(published, min(wanted, highest))
