"""The trials of a sweep as jobs: first those of the search, then those of the confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.console import print_stage
from boresight.core.errors import UserError
from boresight.core.wording import format_duration
from boresight.data.prepare import DatasetCache
from boresight.experiments.engine.experiment import Attempt, Experiment
from boresight.experiments.sweep import search
from boresight.experiments.sweep.confirm import confirm_trials
from boresight.experiments.sweep.prune import Pruned, read_curve, reason_to_prune
from boresight.experiments.sweep.space import value_in_words
from boresight.experiments.sweep.storage import Sweep, Trial, TrialOutcome, held_out_mean


class SweepTrials(Experiment[Trial, TrialOutcome]):
    """Experiment that runs the trials of a sweep."""

    noun = "sweep"

    def __init__(self, sweep: Sweep, console: Console) -> None:
        self.folder = self.sweep = sweep
        self.console = console
        self.datasets = DatasetCache()  # most trials differ in other things than their data

    def jobs(self) -> Sequence[Trial]:
        """Return the trials of the search or, when all of these have ended, those of the confirmation."""
        search_trials = self.sweep.search_trials()
        open_trials = any(self.sweep.outcome(trial) is None for trial in search_trials)
        return search_trials if open_trials else confirm_trials(self.sweep)

    def run(self, trial: Trial, attempt: Attempt) -> TrialOutcome:
        """Train by the trial's recipe and return how the trial ended, with its held-out mean.

        A trial that the guard stopped has no value.
        """
        from boresight.training.guard.guard import guard_stop_in_words

        print_stage(self.console, self._in_words(trial))
        try:
            value = self._train(trial, attempt)
        except Pruned as pruned:
            curve = read_curve(self.sweep.run_folder(trial), self.sweep.recipe.metric, 1)
            return TrialOutcome("pruned", curve[max(curve)], attempt.seconds, str(pruned), attempt.number)
        stopped = guard_stop_in_words(self.sweep.run_folder(trial))
        if stopped is not None:
            return TrialOutcome("stopped", None, attempt.seconds, stopped, attempt.number)
        if value is None:
            return self.failure(trial, attempt, f"no held-out row gave a {self.sweep.recipe.metric}")
        return TrialOutcome("finished", value, attempt.seconds, "", attempt.number)

    def failure(self, trial: Trial, attempt: Attempt, why: str) -> TrialOutcome:
        """Return the outcome of a trial that failed."""
        return TrialOutcome("failed", None, attempt.seconds, why, attempt.number)

    def report(self, trial: Trial, outcome: TrialOutcome) -> None:
        """Print how the trial ended."""
        name, metric = self._in_words(trial), self.sweep.recipe.metric
        value = "" if outcome.value is None else f" {metric} {value_in_words(outcome.value)}"
        why = f": {outcome.why}" if outcome.why else ""
        line = f"{name} {outcome.state}{value} in {format_duration(outcome.seconds)}{why}"
        self.console.print(line, markup=False, highlight=False)

    def _in_words(self, trial: Trial) -> str:
        return f"{trial.name} ({self.sweep.in_words(trial.setting)})"

    def _train(self, trial: Trial, attempt: Attempt) -> float | None:
        from boresight.runs.train import run_to_end

        if trial.setting is not None:
            search.draw_setting(self.sweep, trial.setting)
        recipe, folder = self.sweep.recipe_of(trial), self.sweep.run_folder(trial)
        pruning = PruningListener(self.sweep, trial, recipe)
        run_to_end(
            recipe,
            folder,
            attempt.console,
            [attempt.require_claim, pruning],
            claimed=True,
            datasets=self.datasets,
        )
        values = self.sweep.by_prompt(trial)
        if not values:
            raise UserError(
                f"metric: {recipe.method_name} measures no {self.sweep.recipe.metric} on this held-out data."
            )
        return held_out_mean(values)


@dataclass(frozen=True)
class PruningListener:
    """Metrics listener that ends a trial of the search early by the sweep's rule `prune`."""

    sweep: Sweep
    trial: Trial
    recipe: Recipe

    def __call__(self, step: int, split: str, numbers: dict[str, float]) -> None:
        """Process one line of metrics; raise `Pruned` if the rule ends the trial at this evaluation."""
        rule = self.sweep.recipe.prune
        if split != "eval" or step == 0 or rule is None or self.trial.confirms:
            return
        metric = self.sweep.recipe.metric
        mine = read_curve(self.sweep.run_folder(self.trial), metric, self.recipe.train.batch)
        others = [
            read_curve(self.sweep.run_folder(other), metric, self.sweep.recipe_of(other).train.batch)
            for other in self.sweep.search_trials()
            if other != self.trial and self.sweep.run_folder(other).exists()
        ]
        why = mine and reason_to_prune(mine, others, rule, self.sweep.recipe.better)
        if why:
            raise Pruned(why)
