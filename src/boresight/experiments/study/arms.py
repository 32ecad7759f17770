"""The arms of a study as jobs: each is checked and trained, and answers held-out prompts, once per seed."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.files import write_state
from boresight.core.wording import format_duration, plural
from boresight.data.prepare import DatasetCache
from boresight.experiments.engine.attempt import stopping
from boresight.experiments.engine.experiment import Attempt, Experiment
from boresight.experiments.engine.worker import work
from boresight.experiments.study.answers import answer_prompts, answer_with_start_model
from boresight.experiments.study.outcomes.chosen_rate import chosen_recipe
from boresight.experiments.study.plan import ArmRun, arm_runs
from boresight.experiments.study.progress import TimeLeft, steps_bar
from boresight.experiments.study.storage import ArmOutcome, Study


class TimeIsUp(Exception):
    """Raised if the next run is expected to end after the time limit."""


def run_arms(study: Study, console: Console, only: Sequence[str] = (), minutes: float | None = None) -> None:
    """Run every arm, or those named in `only`, until each has ended. A failed arm does not stop the others.

    Args:
        minutes: time limit. A run that is expected to end after it is not started, except the first run.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM; what was computed is kept, and the same command continues.
    """
    arms = StudyArms(study, console, only, minutes)
    if arms.time_left.planned and study.plan.answers:
        with stopping(arms.noun):
            answer_with_start_model(study, console)
    try:
        work(arms)
    except TimeIsUp:
        left = sum(study.is_open(run) for run in arms.runs)
        verb, rest = "is" if minutes == 1 else "are", plural(left, "other run")
        arms.print(f"{plural(minutes or 0, 'minute')} {verb} up; the same command continues with the {rest}")


class StudyArms(Experiment[ArmRun, ArmOutcome]):
    """Experiment that runs the arms of a study."""

    noun = "study"

    def __init__(
        self, study: Study, console: Console, only: Sequence[str] = (), minutes: float | None = None
    ) -> None:
        self.folder = self.study = study
        self.console = console
        self.datasets = DatasetCache()  # most arms differ in other things than their data
        self.runs = [run for run in arm_runs(study.plan) if not only or run.arm in only]
        planned = {run: study.plan.arms[run.arm].minutes for run in self.runs if study.is_open(run)}
        self.time_left = TimeLeft(planned)
        self.seconds, self.started, self.begun = 60 * (minutes or math.inf), time.monotonic(), 0

    def jobs(self) -> Sequence[ArmRun]:
        """Return the runs of all arms: each arm with its first seed, then with its second seed, and so on."""
        return self.runs

    def dependencies(self, run: ArmRun) -> Sequence[ArmRun]:
        """Return the runs whose models this one starts from, is rewarded by, or is measured by."""
        return self.study.needs(run)

    def why_blocked(self, dependency: ArmRun) -> str:
        """Return the error message of an arm that needs the model of `dependency`, which has not finished."""
        outcome = self.study.outcome(dependency)
        how = outcome.why if outcome is not None and outcome.stopped else "is not finished."
        verb = "was " if how.startswith("stopped") else ""
        return f"{dependency.arm} with seed {dependency.seed}, whose model it needs, {verb}{how}"

    def begin(self, run: ArmRun) -> None:
        """Print which run begins, and an estimate of the time left.

        Raises:
            TimeIsUp: the run is expected to end after the time limit, and is not the first one.
        """
        late = time.monotonic() - self.started + self.time_left.expected(run) > self.seconds
        if self.begun and late:
            raise TimeIsUp
        self.begun += 1
        self.print(f"{self._label(run)}; {self.time_left.in_words()}")

    def run(self, run: ArmRun, attempt: Attempt) -> ArmOutcome:
        """Check and train an arm, answer its prompts and measure it; return how the run ended.

        Each step is skipped if an earlier attempt has done it. A run that the guard stopped is not measured.
        """
        from boresight.experiments.study.outcomes.measure import measure_arm, measure_start_model
        from boresight.runs.train import run_to_end
        from boresight.training.guard.guard import guard_stop_in_words

        study, folder, run_folder = self.study, self.study.job_folder(run), self.study.run_folder(run)
        recipe = study.recipe(run)
        if recipe.optim.lr != "auto":
            self._check(run, recipe)
        with steps_bar(self.console, self._label(run)) as update:
            run_to_end(
                recipe,
                run_folder,
                attempt.console,
                [attempt.require_claim, update],
                claimed=study.shared,
                datasets=self.datasets,
            )
        self._check(run, chosen_recipe(recipe, run_folder))
        stopped = guard_stop_in_words(run_folder)
        if stopped is not None:
            return ArmOutcome(attempt.seconds, stopped, stopped=True)
        if study.is_asked(run) and not (folder / "answers.jsonl").exists():
            answer_prompts(study, str(run_folder), folder / "answers.jsonl", attempt.console)
        measure_start_model(study, run, attempt.console)
        measure_arm(study, run, attempt.seconds, attempt.console)
        if not study.keeps_weights(run):
            shutil.rmtree(run_folder / "model", ignore_errors=True)
        return ArmOutcome(attempt.seconds)

    def _check(self, run: ArmRun, recipe: Recipe) -> None:
        """Write the forecast and findings of a run's recipe to `check.json`, unless the file exists."""
        from boresight.experiments.study.preflight import check_arm

        path = self.study.job_folder(run) / "check.json"
        if not path.exists():
            write_state(path, check_arm(recipe, self.datasets))

    def failure(self, run: ArmRun, attempt: Attempt, why: str) -> ArmOutcome:
        """Return the outcome of an arm that failed; `why` is one sentence."""
        return ArmOutcome(attempt.seconds, f"failed: {why}")

    def report(self, run: ArmRun, outcome: ArmOutcome) -> None:
        """Print how the run ended."""
        self.time_left.subtract(run, outcome.seconds)
        self.print(f"    {outcome.why or f'finished after {format_duration(outcome.seconds)}'}")

    def number(self, run: ArmRun) -> str:
        """Format the position of a run among all runs, as `[3/24]`."""
        return f"[{self.runs.index(run) + 1}/{len(self.runs)}]"

    def _label(self, run: ArmRun) -> str:
        return f"{self.number(run)} {self.study.plan.arms[run.arm].title}, seed {run.seed}"

    def print(self, line: str) -> None:
        """Print a line without markup."""
        self.console.print(line, markup=False, highlight=False)
