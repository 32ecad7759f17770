"""The report of a sweep: the verdict, the confirmation, all settings, and the metric by each key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boresight.core.files import write_text
from boresight.core.wording import format_duration
from boresight.experiments.sweep.confirm import (
    Confirmed,
    confirm_trials,
    confirmed,
    sweep_headline,
    sweep_verdict,
)
from boresight.experiments.sweep.figures import sweep_figures
from boresight.experiments.sweep.results import SettingResult, setting_results, trials_csv
from boresight.experiments.sweep.space import short_key, value_in_words
from boresight.experiments.sweep.storage import Sweep
from boresight.reports.page import page, write_page
from boresight.reports.tables.common_scale import CommonScale, DrawnColumn, draw_on_one_scale
from boresight.reports.tables.files import pipe_table
from boresight.reports.tables.intervals import NOTHING, Cell, interval_cell, interval_text
from boresight.reports.tables.metrics import Drawing
from boresight.stats.over_seeds import OverSeeds
from boresight.stats.units import unit_named


@dataclass(frozen=True)
class SettingLine:
    """One setting as a line of the report."""

    rank: str
    values: list[str]
    cell: Cell | None
    drawing: Drawing | None
    trials: str
    time: str
    why: str


@dataclass(frozen=True)
class ConfirmedLine:
    """One confirmed setting as a line of the report."""

    name: str
    cell: Cell
    drawing: Drawing | None
    difference: Cell | None
    seed_sd: str
    p: str
    verdict: str


@dataclass(frozen=True)
class SweepReport:
    """Contents of the report as text, and the axes of its two tables."""

    headline: str
    sentences: list[str]
    confirmed: list[ConfirmedLine]
    confirmed_axis: CommonScale | None
    settings: list[SettingLine]
    settings_axis: CommonScale | None


def write_sweep_report(sweep: Sweep) -> tuple[Path, list[str]]:
    """Write report.html, table.md and trials.csv; return the page's path and the sentences to print."""
    results, tested = setting_results(sweep), confirmed(sweep)
    searched = _drawn(sweep, {str(result.number): result.mean for result in results})
    tested_again = _drawn(sweep, {c.name: c.mean for c in tested})
    report = SweepReport(
        headline=sweep_headline(sweep, tested),
        sentences=[*sweep_verdict(sweep, tested), *_stop_sentences(sweep), *_failures(sweep, results)],
        confirmed=_confirmed_lines(sweep, tested, tested_again),
        confirmed_axis=None if tested_again is None else tested_again.scale,
        settings=_setting_lines(sweep, results, searched),
        settings_axis=None if searched is None else searched.scale,
    )
    path = sweep.folder / "report.html"
    write_page(path, render_sweep_page(sweep, report, results))
    write_text(sweep.folder / "table.md", sweep_markdown(sweep, report))
    write_text(sweep.folder / "trials.csv", trials_csv(sweep, results))
    return path, report.sentences


def render_sweep_page(sweep: Sweep, report: SweepReport, results: Sequence[SettingResult]) -> str:
    """Render the report as an HTML page."""
    return page(
        "sweep.html.j2",
        title=sweep.folder.resolve().name,
        headline=report.headline,
        report=report,
        metric=sweep.recipe.metric,
        label=sweep.recipe.label,
        better=sweep.recipe.better,
        seeds=len(sweep.recipe.seeds),
        keys=[short_key(key) for key in sweep.recipe.keys],
        figures=sweep_figures(sweep, results),
        recipe=sweep.recipe.to_yaml(),
    )


def sweep_markdown(sweep: Sweep, report: SweepReport) -> str:
    """Format the verdict, the confirmation and all settings as Markdown."""
    metric, keys = sweep.recipe.metric, map(short_key, sweep.recipe.keys)
    parts = ["".join(f"- {sentence}\n" for sentence in report.sentences)]
    if report.confirmed:
        head = ["confirmed", metric, "difference to the default", "p"]
        rows = [
            [line.name, str(line.cell), interval_text(line.difference), line.p] for line in report.confirmed
        ]
        parts.append(pipe_table(head, rows))
    head = ["rank", *keys, f"{metric}, selection", "trials", "time", ""]
    rows = [[s.rank, *s.values, interval_text(s.cell), s.trials, s.time, s.why] for s in report.settings]
    return "\n".join([*parts, pipe_table(head, rows)])


def _stop_sentences(sweep: Sweep) -> list[str]:
    """Return one sentence per setting and stage (search or confirmation) that the guard stopped."""
    found: dict[tuple[int | None, bool], str] = {}
    for trial in [*sweep.search_trials(), *confirm_trials(sweep)]:
        outcome = sweep.outcome(trial)
        if outcome is not None and sweep.stopped(trial):
            stage = "In the confirmation, " if trial.confirms else ""
            said = f"{stage}{sweep.in_words(trial.setting)} with seed {trial.seed} was {outcome.why}"
            found.setdefault((trial.setting, trial.confirms), said)
    return list(found.values())


def _failures(sweep: Sweep, results: Sequence[SettingResult]) -> list[str]:
    """Return one sentence per reason why settings failed in the search, then failures of the confirmation."""
    by_reason: dict[str, list[str]] = {}
    for result in results:
        if result.states.get("failed"):
            by_reason.setdefault(result.why.rstrip("."), []).append(str(result.number))
    searched = [f"{_listed('Setting', numbers)} failed: {why}." for why, numbers in by_reason.items()]
    return [*searched, *_confirmation_failures(sweep)]


def _confirmation_failures(sweep: Sweep) -> list[str]:
    """Return one sentence per setting and reason why runs of the confirmation failed."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for trial in confirm_trials(sweep):
        outcome = sweep.outcome(trial)
        if outcome is not None and outcome.failed:
            reason = (sweep.in_words(trial.setting), outcome.why.rstrip("."))
            by_reason.setdefault(reason, []).append(str(trial.seed))
    return [
        f"In the confirmation, {name} with {_listed('seed', seeds)} failed: {why}."
        for (name, why), seeds in by_reason.items()
    ]


def _listed(noun: str, numbers: Sequence[str]) -> str:
    """Format a noun with numbers, as `Setting 3` or `Settings 3, 5`."""
    return f"{noun}{'' if len(numbers) == 1 else 's'} {', '.join(numbers)}"


def _setting_lines(
    sweep: Sweep, results: Sequence[SettingResult], drawn: DrawnColumn | None
) -> list[SettingLine]:
    unit = unit_named(sweep.recipe.unit)
    return [
        SettingLine(
            rank=str(result.rank or NOTHING),
            values=[value_in_words(value) for value in result.values],
            cell=interval_cell(result.mean and result.mean.mean, unit, n=True),
            drawing=None if drawn is None else drawn.rows.get(str(result.number)),
            trials=result.states_in_words(),
            time=format_duration(result.seconds),
            why=result.why,
        )
        for result in results
    ]


def _confirmed_lines(
    sweep: Sweep, tested: Sequence[Confirmed], drawn: DrawnColumn | None
) -> list[ConfirmedLine]:
    unit = unit_named(sweep.recipe.unit)
    return [
        ConfirmedLine(
            name=c.name,
            cell=interval_cell(c.mean.mean, unit, n=True),
            drawing=None if drawn is None else drawn.rows.get(c.name),
            difference=interval_cell(c.gain and c.gain.mean, unit, signed=True),
            seed_sd=unit.difference(c.mean.seed_sd) if c.mean.seeds > 1 else NOTHING,
            p=f"{c.p:.2g}" if c.gain else "",
            verdict=_badge(c, sweep.recipe.better),
        )
        for c in tested
    ]


def _badge(c: Confirmed, better: str) -> str:
    """Return the CSS class of the verdict, which is also its text; empty for the default."""
    if c.gain is None:
        return ""
    if not c.significant:
        return "not-significant"
    return "better" if c.beats(better) else "worse"


def _drawn(sweep: Sweep, means: dict[str, OverSeeds | None]) -> DrawnColumn | None:
    """Draw all means on one common axis; None if there is nothing to draw."""
    recipe = sweep.recipe
    unit = unit_named(recipe.unit)
    title = ", ".join(filter(None, (recipe.label, unit.value_suffix.strip())))
    return draw_on_one_scale({name: mean.mean for name, mean in means.items() if mean}, unit, title)
