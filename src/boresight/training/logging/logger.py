"""Log metrics to `metrics.jsonl` and to the status line of the terminal."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from rich.console import Console

from boresight.core.console import ERROR, LINE_EVERY, WARNING, has_cursor, status_bar, warning_console
from boresight.core.errors import UserError
from boresight.core.files import append_jsonl
from boresight.findings.monitor import Log
from boresight.training.logging.status import StatusLine

Listener = Callable[[int, str, dict[str, float]], None]
"""Function that is called with step, split (`train` or `eval`) and numbers of every line of metrics."""


class RunLog(Log, Protocol):
    """The log of the training loop: a `Tracker` in the first process, `Silent` in the others."""

    def log(self, step: int, split: str, numbers: dict[str, float]) -> None:
        """Log one line of metrics."""
        ...


class Tracker:
    """Appends metrics to the run folder and updates the terminal.

    Args:
        metrics: metrics of the status line, by importance.
    """

    def __init__(self, run: Path, steps: int, console: Console, metrics: Sequence[str] = ("loss",)) -> None:
        self._path = run / "metrics.jsonl"
        self._file = self._path.open("ab")
        """Open handle of the file, to detect that the path refers to another file."""
        self._console = console
        self.listeners: list[Listener] = []
        """Functions that are called with every logged line."""
        self.closing = ExitStack()
        """Context managers that are closed with the tracker."""
        self.stopping = False
        """Set to True by a listener to end the run after this step."""
        self._steps = steps
        self._status = StatusLine(metrics, steps)
        self._said: float | None = None
        self._bar = status_bar(console)
        self._task = self._bar.add_task("training", total=steps, note="")

    def __enter__(self) -> Tracker:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self._file.close()
        self.closing.close()

    def log(self, step: int, split: str, numbers: dict[str, float]) -> None:
        """Write one line of metrics; values that are not finite are written as null.

        Raises:
            UserError: the run folder was deleted, moved or replaced.
        """
        if not (self._path.is_file() and os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))):
            raise UserError(
                f"{self._path}: this file was deleted or replaced during the run, so it stops at step {step};"
                " do not change the folder of a run, and start the command again."
            )
        line = {"step": step, "split": split} | {name: _rounded(value) for name, value in numbers.items()}
        append_jsonl(self._path, [line])
        if split == "train":
            self._show(step, numbers)
        else:
            self._console.print(self._status.evaluation(step, numbers), style="cyan", highlight=False)
        for listen in self.listeners:
            listen(step, split, numbers)

    def say(self, sentence: str, style: str | None = None) -> None:
        """Print a sentence above the status line; warnings and errors are printed even with `--quiet`."""
        console = warning_console(self._console) if style in (WARNING, ERROR) else self._console
        console.print(sentence, style=style, markup=False, highlight=False)

    def _show(self, step: int, numbers: dict[str, float]) -> None:
        line, now = self._status.line(step, numbers), time.monotonic()
        self._bar.update(self._task, completed=step, note=line)
        due = self._said is None or now - self._said >= LINE_EVERY or step == self._steps
        if due and not has_cursor(self._console):
            self._said = now
            self._console.print(line, highlight=False)


def _rounded(value: float) -> float | None:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
