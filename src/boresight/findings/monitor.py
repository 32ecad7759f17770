"""Monitor a run: check the numbers that it logs, and report each finding at the first step it holds.

monitor = Monitor(History(steps=200, eval_rows=400))
monitor.see(50, "eval", {"accuracy": 0.5, ...})      # -> [not-learning]
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from boresight.config.reward import penalty_names
from boresight.core.files import append_jsonl, read_jsonl, write_jsonl
from boresight.core.strict_model import is_count
from boresight.findings import live_checks
from boresight.findings.finding import Finding, checks_of, from_dict
from boresight.findings.history import History
from boresight.findings.printing import STYLES

if TYPE_CHECKING:
    from boresight.config.recipe import Recipe

FILE = "findings.jsonl"
ONCE = {"not-finite", "gradient-spike"}
"""Names of findings about single steps. All others describe a condition that may end again during a run."""

LiveCheck = Callable[[History], Finding | None]


class Log(Protocol):
    """The part of the run's log that the monitor uses (`training.logging.logger.Tracker`)."""

    listeners: list[Callable[[int, str, dict[str, float]], None]]
    stopping: bool

    def say(self, sentence: str, style: str | None = None) -> None:
        """Print one line."""
        ...


class Monitor:
    """Runs the live checks over a growing history; each finding is reported once."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.findings: list[Finding] = []
        self._waiting = {check.__name__: check for check in checks_of(live_checks)}
        self._fired: list[tuple[LiveCheck, Finding]] = []

    def see(self, step: int, split: str, numbers: Mapping[str, float | None]) -> list[Finding]:
        """Add one line of metrics; return the findings that hold for the first time."""
        self.history.add(step, split, numbers)
        fired: list[Finding] = []
        for name, check in list(self._waiting.items()):
            finding = check(self.history)
            if finding is not None:
                del self._waiting[name]
                fired.append(replace(finding, step=step))
                self._fired.append((check, fired[-1]))
        self.findings += fired
        return fired

    def at_end(self) -> list[Finding]:
        """Return all findings as at the end of a run: with final numbers, or as notes if they no longer hold.

        Findings about single steps, such as a NaN or a spike, are returned unchanged.
        """
        return [self._at_end(check, finding) for check, finding in self._fired]

    def _at_end(self, check: LiveCheck, finding: Finding) -> Finding:
        if finding.name in ONCE:
            return finding
        last = check(self.history)
        if last is not None:
            return replace(last, step=finding.step)
        why = f"At step {finding.step:,}, no longer at the end: {finding.why[0].lower()}{finding.why[1:]}"
        return replace(finding, severity="note", why=why)

    def replay(self, folder: Path) -> None:
        """Add the metrics that a run folder contains already, so that a resumed run is monitored as one."""
        for line in read_jsonl(folder / "metrics.jsonl"):
            split = line.get("split")
            if split in self.history.series and is_count(line.get("step")):
                numbers = {k: v for k, v in line.items() if k not in ("step", "split")}
                self.see(line["step"], split, numbers)


class Watch:
    """Metrics listener that monitors a run: prints new findings and writes them to `findings.jsonl`.

    With `stop`, a finding that is an error ends the run.
    """

    def __init__(self, folder: Path, history: History, tracker: Log, *, stop: bool = False) -> None:
        self._folder = folder
        self._tracker = tracker
        self._stop = stop
        self._monitor = Monitor(history)
        self._monitor.replay(folder)

    def __call__(self, step: int, split: str, numbers: Mapping[str, float | None]) -> None:
        """Process one line of metrics, with the arguments that `Tracker.log` receives."""
        for finding in self._monitor.see(step, split, numbers):
            report(finding, self._folder, self._tracker)
            if self._stop and finding.severity == "error":
                self._tracker.stopping = True


def report(finding: Finding, folder: Path, tracker: Log) -> None:
    """Write a finding of a step to the run folder, and print it."""
    append_jsonl(folder / FILE, [finding.as_dict()])
    told = f"step {finding.step}, {finding.severity}: {finding.name}: {finding.why} → {finding.fix}"
    tracker.say(told, STYLES[finding.severity])


def watch(
    folder: Path, tracker: Log, recipe: Recipe, steps: int, eval_rows: int, eval_prompts: int = 0
) -> None:
    """Attach a monitor to everything that `tracker` logs."""
    history = History(steps, eval_rows, eval_prompts=eval_prompts, penalties=penalty_names(recipe.reward))
    tracker.listeners.append(Watch(folder, history, tracker, stop=recipe.check.stop))


def write_findings(folder: Path, findings: Sequence[Finding]) -> None:
    """Write `findings.jsonl`, atomically."""
    write_jsonl(folder / FILE, (finding.as_dict() for finding in findings))


def read_findings(folder: Path) -> list[Finding]:
    """Read the findings in a run folder; lines that cannot be read are skipped."""
    found = []
    for line in read_jsonl(folder / FILE):
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            found.append(from_dict(line))
    return found
