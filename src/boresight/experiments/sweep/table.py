"""What came out of a sweep, as lines: one a setting, best first, then those without a result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from boresight.experiments.sweep.confirm import Confirmed, measured_over_seeds, ranking
from boresight.experiments.sweep.space import short, value_words
from boresight.experiments.sweep.storage import Sweep, Trial
from boresight.reports.tables.files import csv_text, pipe_table, plain_text
from boresight.reports.tables.intervals import interval_cell, interval_text
from boresight.stats.over_seeds import OverSeeds
from boresight.stats.units import format_number, unit_named


@dataclass(frozen=True)
class Line:
    """One setting. `rank` is None where not every seed finished; `why` says why not."""

    number: int
    rank: int | None
    values: list[Any]
    states: dict[str, int]
    mean: OverSeeds | None
    seconds: float
    why: str


def lines(sweep: Sweep) -> list[Line]:
    """Every setting that was drawn, ranked ones first."""
    ranks = {number: rank for rank, (number, _) in enumerate(ranking(sweep), start=1)}
    known = [n for n in range(sweep.recipe.count) if sweep.setting(n) is not None]
    return [
        _line(sweep, n, ranks.get(n)) for n in sorted(known, key=lambda n: (ranks.get(n, len(known) + 1), n))
    ]


def _line(sweep: Sweep, number: int, rank: int | None) -> Line:
    trials = [Trial(number, seed) for seed in sweep.recipe.seeds]
    outcomes = {trial: outcome for trial in trials if (outcome := sweep.outcome(trial))}
    states: Counter[str] = Counter(outcome.state for outcome in outcomes.values())
    states["waiting"] = len(trials) - len(outcomes)
    reasons = dict.fromkeys(outcome.why for outcome in outcomes.values() if outcome.why)
    setting = sweep.setting(number) or {}
    return Line(
        number=number,
        rank=rank,
        values=[setting.get(key) for key in sweep.recipe.keys],
        states={state: count for state, count in states.items() if count},
        mean=measured_over_seeds(sweep, number),
        seconds=sum(outcome.seconds for outcome in outcomes.values()),
        why="; ".join(reasons),
    )


def states_in_words(line: Line) -> str:
    """`finished`, or `2 finished, 1 failed`."""
    if len(line.states) == 1 and sum(line.states.values()) == 1:
        return next(iter(line.states))
    return ", ".join(f"{count} {state}" for state, count in line.states.items())


def time_in_words(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{format_number(seconds / 60)} min" if seconds < 3600 else f"{format_number(seconds / 3600)} h"


def markdown(sweep: Sweep, found: Sequence[Line], tested: Sequence[Confirmed], said: Sequence[str]) -> str:
    """The verdict, the confirmation and all settings as Markdown."""
    metric, unit = sweep.recipe.metric, unit_named(sweep.recipe.unit)
    head = ["rank", *(short(key) for key in sweep.recipe.keys), f"{metric}, selection", "trials", "time", ""]
    rows = [
        [
            str(line.rank or "–"),
            *(value_words(value) for value in line.values),
            interval_text(interval_cell(line.mean and line.mean.mean, unit, n=True)),
            states_in_words(line),
            time_in_words(line.seconds),
            line.why,
        ]
        for line in found
    ]
    parts = ["\n".join(f"- {sentence}" for sentence in said) + "\n"]
    if tested:
        cells = [
            [
                c.name,
                interval_text(interval_cell(c.mean.mean, unit, n=True)),
                interval_text(interval_cell(c.gain and c.gain.mean, unit, signed=True)),
                f"{c.p:.2g}" if c.gain else "",
            ]
            for c in tested
        ]
        parts.append(pipe_table(["confirmed", metric, "difference to the default", "p"], cells))
    return "\n".join([*parts, pipe_table(head, rows)])


def comma_separated(sweep: Sweep, found: Sequence[Line]) -> str:
    """One line a trial, unrounded."""
    head = [
        "stage",
        "setting",
        "seed",
        *sweep.recipe.keys,
        "state",
        sweep.recipe.metric,
        "seconds",
        "attempts",
        "why",
    ]
    from boresight.experiments.sweep.confirm import confirm_trials

    ranked = [line.number for line in found]
    search = sorted(
        sweep.search_trials(), key=lambda t: ranked.index(t.setting) if t.setting in ranked else 10**6
    )
    rows = []
    for trial in [*search, *confirm_trials(sweep)]:
        outcome, setting = sweep.outcome(trial), sweep.setting(trial.setting)
        if outcome is None or setting is None:
            continue
        number = "default" if trial.setting is None else trial.setting
        values = [setting.get(key, "") for key in sweep.recipe.keys]
        stage = "confirmation" if trial.confirms else "search"
        told = [outcome.state, outcome.value, outcome.seconds, outcome.attempts, plain_text(outcome.why)]
        rows.append([stage, number, trial.seed, *values, *told])
    return csv_text(head, rows)
