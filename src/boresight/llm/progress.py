"""Display progress: throughput, money spent and expected, and failures by kind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console

from boresight.core.console import LINE_EVERY, has_cursor, print_warning, progress_bar
from boresight.llm.client import Client

REDRAW_EVERY = 0.2
"""Seconds between updates of the bar."""


@contextmanager
def watching(
    client: Client, what: str, total: int | None, console: Console | None
) -> Iterator[Callable[[], None]]:
    """Context manager that yields a function to call once per item.

    Displays nothing if `console` is None.
    """
    if console is None:
        yield lambda: None
        return
    meter = Meter(client)
    view = _bar if has_cursor(console) else _lines
    client.show_failures = partial(_print_first_failures, client, console)  # a batch may take a day
    try:
        with view(console, what, total, meter) as show:
            yield show
    finally:
        _print_first_failures(client, console)


def _print_first_failures(client: Client, console: Console) -> None:
    """Print the endpoint's message at the first failure of each kind, once per run."""
    progress = client.progress
    for kind, detail in progress.first_failure.items():
        if kind not in progress.told:
            print_warning(console, f"first {kind}: {detail}")
            progress.told.add(kind)


class Meter:
    """Status line of a stage, computed from the client's counters."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self.client, self.clock = client, clock
        self.began, self.usd, self.requests = clock(), client.budget.spent_usd, client.progress.answered

    def line(self, done: int, total: int | None) -> str:
        """Return the status line, for instance `31.4 per second · 32 at once · $0.52 spent, $1.10 at the end
        · 12 rate_limit`."""
        progress, budget = self.client.progress, self.client.budget
        seconds = max(self.clock() - self.began, 1e-6)
        parts = [
            f"{(progress.answered - self.requests) / seconds:.1f} per second",
            f"{self.client.concurrency()} at once",
        ]
        if budget.usd:
            parts.append(f"${budget.spent_usd:.2f} spent{self._projection(done, total)}")
        if progress.cached:
            parts.append(f"{progress.cached:,} from the ledger")
        if progress.given_up:
            parts.append(f"{progress.given_up:,} given up")
        if progress.estimated:
            parts.append(f"usage of {progress.estimated:,} estimated")
        troubles = progress.failures + progress.unusable
        parts += [f"{count:,} {kind}" for kind, count in troubles.most_common()]
        if self.client.over_budget:
            parts.append(f"{self.client.over_budget} is reached")
        return " · ".join(parts)

    def _projection(self, done: int, total: int | None) -> str:
        if not done or not total or done >= total:
            return ""
        spent = self.client.budget.spent_usd - self.usd
        return f", ${self.usd + spent * total / done:.2f} at the end"


@contextmanager
def _bar(console: Console, what: str, total: int | None, meter: Meter) -> Iterator[Callable[[], None]]:
    done, shown_at = 0, -REDRAW_EVERY
    with progress_bar(console, transient=False) as bar:
        task = bar.add_task(what, total=total, note="")

        def step() -> None:
            nonlocal done, shown_at
            done += 1
            if meter.clock() - shown_at > REDRAW_EVERY:
                shown_at = meter.clock()
                bar.update(task, completed=done, note=meter.line(done, total))

        yield step
        bar.update(task, completed=done, note=meter.line(done, total))


@contextmanager
def _lines(console: Console, what: str, total: int | None, meter: Meter) -> Iterator[Callable[[], None]]:
    done, said_at = 0, meter.clock()

    def say() -> None:
        of = f" of {total:,}" if total else ""
        console.print(f"{what}: {done:,}{of} · {meter.line(done, total)}", highlight=False, markup=False)
        if console.file is sys.stdout:
            sys.stdout.flush()

    def step() -> None:
        nonlocal done, said_at
        done += 1
        if meter.clock() - said_at > LINE_EVERY:
            said_at = meter.clock()
            say()

    yield step
    say()
