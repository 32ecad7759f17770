"""Show the progress of a study: an estimate of the time left, and a bar over training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console

from boresight.core.console import progress_bar
from boresight.core.wording import format_duration
from boresight.experiments.study.plan import ArmRun


class TimeLeft:
    """Estimates the time that the open runs need.

    The estimate is the plan's `minutes`, scaled by the ratio of actual to planned time of the ended runs.
    """

    def __init__(self, minutes: Mapping[ArmRun, float]) -> None:
        self.planned = {run: 60 * of_run for run, of_run in minutes.items()}
        """Planned seconds of every open run."""
        self._planned_of_ended = self._taken = 0.0

    def subtract(self, run: ArmRun, seconds: float) -> None:
        """Record that a run has ended after `seconds`."""
        self._planned_of_ended += self.planned.pop(run)
        self._taken += seconds

    def expected(self, run: ArmRun) -> float:
        """Return the number of seconds that an open run is expected to take."""
        return self._rate * self.planned[run]

    def in_words(self) -> str:
        """Format the time left, as `about 31 min left`."""
        return f"about {format_duration(self._rate * sum(self.planned.values()))} left"

    @property
    def _rate(self) -> float:
        """Ratio of the actual to the planned time of the ended runs; 1 before a run has ended."""
        return self._taken / self._planned_of_ended if self._planned_of_ended else 1.0


@contextmanager
def steps_bar(console: Console, label: str) -> Iterator[Callable[[int, str, dict[str, float]], None]]:
    """Yield a metrics listener that updates a progress bar at every training step.

    Nothing is shown if the console is not a terminal.
    """
    from boresight.training.logging.status import format_metric

    with progress_bar(console) as bar:
        task = bar.add_task(label, total=None, note="")

        def update(step: int, split: str, numbers: dict[str, float]) -> None:
            if split == "train":
                loss = f"loss {format_metric(numbers['loss'])}" if "loss" in numbers else ""
                bar.update(task, completed=step, note=loss)

        yield update
