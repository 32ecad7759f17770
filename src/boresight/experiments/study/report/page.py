"""Write the report of a study: index.html, results.md, results.csv and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight.core.files import write_text
from boresight.core.schema import Prompt
from boresight.core.wording import cut_at_tokens, format_duration
from boresight.experiments.study.blocks import START
from boresight.experiments.study.metrics import METRICS
from boresight.experiments.study.plan import ArmRun, arm_runs, as_published
from boresight.experiments.study.preflight import at_full_size, first_finding, forecast_in_words
from boresight.experiments.study.read import StudyData, read_study
from boresight.experiments.study.report.arm_settings import settings_in_words
from boresight.experiments.study.report.figures import DrawnFigure, standalone, study_figures
from boresight.experiments.study.report.outcome_page import page_folder
from boresight.experiments.study.results import (
    Compared,
    arm_mean,
    compared,
    comparison_sentence,
    counts_in_words,
    study_headline,
)
from boresight.experiments.study.storage import Study, read_state_if_there
from boresight.reports.page import page, write_page
from boresight.reports.tables.files import csv_text, numbers, pipe_table, plain_text
from boresight.reports.tables.intervals import NOTHING, Cell, interval_cell, interval_text
from boresight.reports.tables.metrics import Drawing, draw_intervals
from boresight.stats.over_seeds import OverSeeds
from boresight.stats.units import unit_named


@dataclass(frozen=True)
class ArmLine:
    """One arm in the table of its group."""

    title: str
    cells: list[Cell | None]
    seeds: str


@dataclass(frozen=True)
class GroupTable:
    """The arms of a group and their metrics."""

    title: str
    heads: list[str]
    lines: list[ArmLine]
    about: str


@dataclass(frozen=True)
class ComparedLine:
    """One comparison by one metric."""

    title: str
    label: str
    cell: Cell | None
    drawing: Drawing | None
    over: str
    p: str
    verdict: str


@dataclass(frozen=True)
class CheckLine:
    """The preflight check of an arm as a line of the report.

    `here` is the forecast for the recipe as run, `there` that for the published recipe at full size, and
    `finding` the first finding for the recipe as run.
    """

    title: str
    here: str
    there: str
    finding: str


@dataclass(frozen=True)
class SetupLine:
    """Settings, time and state of an arm."""

    name: str
    title: str
    settings: str
    shrunk: str
    time: str
    state: str


@dataclass(frozen=True)
class StudyReport:
    """All contents of the report."""

    headline: str
    sentences: list[str]
    notes: list[str]
    comparisons: list[ComparedLine]
    tables: list[GroupTable]
    figures: list[DrawnFigure]
    checks: list[CheckLine]
    setup: list[SetupLine]
    environment: list[tuple[str, str]]


def write_study_report(study: Study) -> Path:
    """Write the report of all runs that have finished so far; return the path of the page."""
    data = read_study(study)
    results = compared(data.measured, study.plan.comparisons)
    report = study_report(study, data, results)
    folder = study.folder / "report"
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for figure in report.figures:
        write_text(folder / "figures" / f"{figure.name}.svg", standalone(figure))
    write_text(folder / "results.csv", results_csv(study, data, results))
    write_text(folder / "results.md", study_markdown(study, report))
    write_page(folder / "index.html", render_study_page(study, data, report))
    return folder / "index.html"


def study_report(study: Study, data: StudyData, results: Sequence[Compared]) -> StudyReport:
    """Compute the contents of the report."""
    plan = study.plan
    titles = {name: arm.title for name, arm in plan.arms.items()}
    return StudyReport(
        headline=_headline(study, results),
        sentences=[comparison_sentence(c, titles) for c in results if c.difference],
        notes=_notes(study),
        comparisons=[_compared_line(c) for c in results],
        tables=[_group_table(study, data, name) for name in plan.groups],
        figures=study_figures(study),
        checks=[_check_line(study, name) for name in plan.arms],
        setup=[_setup_line(study, name) for name in plan.arms],
        environment=_environment(study),
    )


def _headline(study: Study, results: Sequence[Compared]) -> str:
    plan = study.plan
    return study_headline(results, plan.arms) if plan.comparisons or not plan.blocks else _progress(study)


def _progress(study: Study) -> str:
    """Return the headline of a study with blocks and no other comparisons: the number of finished runs."""
    outcomes = [study.outcome(run) for run in arm_runs(study.plan)]
    finished = sum(outcome is not None and outcome.finished for outcome in outcomes)
    return f"{finished} of {len(outcomes)} runs have finished."


def _notes(study: Study) -> list[str]:
    """Return one note for each run that failed or was stopped, one that counts the open runs, and one with
    the path of the page of blocks."""
    outcomes = {run: study.outcome(run) for run in arm_runs(study.plan)}
    notes = [
        f"{study.plan.arms[run.arm].title}, seed {run.seed}, {outcome.why}"
        for run, outcome in outcomes.items()
        if outcome is not None and not outcome.finished
    ]
    if left := sum(outcome is None for outcome in outcomes.values()):
        total = len(outcomes)
        notes.append(f"{left} of {total} runs have not ended yet; the same command resumes them.")
    if study.plan.blocks:
        notes.append(
            f"Blocks and questions have a page of their own: {page_folder(study.plan) / 'index.html'}."
        )
    return notes


def _group_table(study: Study, data: StudyData, group: str) -> GroupTable:
    """Return the table of a group: its arms with their metrics, below the start model if it has answered."""
    section = study.plan.groups[group]
    lines = []
    if study.plan.answers and group in study.plan.answers.groups and START in data.measured:
        cells = [_cell(data, START, metric) for metric in section.metrics]
        lines.append(ArmLine(f"{study.plan.answers.start}, before training", cells, NOTHING))
    for name, arm in study.plan.arms.items():
        if arm.group == group:
            cells = [_cell(data, name, metric) for metric in section.metrics]
            done = [seed for seed in arm.seeds if study.finished(ArmRun(name, seed))]
            seeds = f"{len(done)} of {len(arm.seeds)}"
            stopped = len(study.stopped(name))
            lines.append(ArmLine(arm.title, cells, f"{seeds}, {stopped} stopped" if stopped else seeds))
    return GroupTable(section.title, [METRICS[m].label for m in section.metrics], lines, section.about)


def _mean(data: StudyData, arm: str, metric: str) -> OverSeeds | None:
    return arm_mean(data.measured.get(arm, {}).get(metric, {}), metric)


def _cell(data: StudyData, arm: str, metric: str) -> Cell | None:
    mean = _mean(data, arm, metric)
    return interval_cell(mean and mean.mean, unit_named(METRICS[metric].unit), n=True)


def _compared_line(c: Compared) -> ComparedLine:
    metric, shown = METRICS[c.metric], c.shown
    if shown is None or c.difference is None:
        return ComparedLine(c.title, metric.label, None, None, "", "", c.verdict)
    unit = unit_named(metric.unit)
    return ComparedLine(
        title=c.title,
        label=metric.label,
        cell=interval_cell(shown, unit, signed=c.metric != "win_rate"),
        drawing=draw_intervals({"after": shown}, unit, null=metric.even),
        over=counts_in_words(c.difference),
        p=f"{c.p:.2g}",
        verdict=c.verdict,
    )


def _check_line(study: Study, name: str) -> CheckLine:
    arm = study.plan.arms[name]
    check = read_state_if_there(study.job_folder(ArmRun(name, arm.seeds[0])) / "check.json")
    full = at_full_size(as_published(study.plan, study.here, name))
    return CheckLine(
        arm.title,
        forecast_in_words(check) if check else "not run yet",
        forecast_in_words(full) if full else "",
        first_finding(check) if check else "",
    )


def _setup_line(study: Study, name: str) -> SetupLine:
    arm = study.plan.arms[name]
    recipe = study.recipe(ArmRun(name, arm.seeds[0]))
    outcomes = [study.outcome(ArmRun(name, seed)) for seed in arm.seeds]
    ended = [o for o in outcomes if o is not None]
    state = "finished" if sum(o.finished for o in ended) == len(arm.seeds) else f"{len(ended)} ended"
    if stopped := sum(o.stopped for o in ended):
        state += f", {stopped} stopped by the guard"
    seeds = ", ".join(map(str, arm.seeds))
    return SetupLine(
        name,
        arm.title,
        settings_in_words(recipe),
        arm.shrunk,
        format_duration(sum(o.seconds for o in ended)) if ended else NOTHING,
        f"{state}; seeds {seeds}",
    )


def _environment(study: Study) -> list[tuple[str, str]]:
    from boresight.reports.facts import texts

    facts = texts(read_state_if_there(study.folder / "environment.json") or {})
    return [(name.rsplit(".", 1)[-1], value) for name, value in facts.items()]


def render_study_page(study: Study, data: StudyData, report: StudyReport) -> str:
    """Render the page as HTML."""
    samples, columns = _shown_answers(study, data)
    return page(
        "study.html.j2",
        title=study.plan.title,
        about=study.plan.about,
        report=report,
        figures=report.figures,
        has_samples=bool(samples),
        payload={
            "columns": columns,
            "files": "answers.jsonl of each run",
            "outcomes": [
                f"Passes only with {columns[-1]}" if columns else "",
                f"Passes only with {columns[0]}" if columns else "",
                "Passes with neither",
            ],
            "samples": samples,
        },
    )


def _shown_answers(study: Study, data: StudyData) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the held-out prompts with the answers that the plan shows, and the names of their models.

    The models are the start model and the arms in `answers.shown`, each with its first seed.
    """
    from boresight.tasks.constraints.evaluation import check_answer, checkable

    section = study.plan.answers
    if section is None:
        return [], []
    wanted = [ArmRun(START, 0), *(ArmRun(arm, study.plan.arms[arm].seeds[0]) for arm in section.shown)]
    systems = {run: data.answers[run] for run in wanted if run in data.answers}
    if not systems:
        return [], []

    def checks(prompt: Prompt, answer: str | None) -> dict[str, bool]:
        return check_answer(prompt.meta, answer) if answer is not None and checkable(prompt.meta) else {}

    samples = []
    for prompt in data.prompts:
        answers = [system.answers.get(prompt.id) for system in systems.values()]
        samples.append(
            {
                "id": prompt.id,
                "prompt": prompt.prompt,
                "answers": answers,
                "cuts": [cut_at_tokens(system.cut_at.get(prompt.id)) for system in systems.values()],
                "checks": [checks(prompt, answer) for answer in answers],
            }
        )
    names = [study.plan.arms[run.arm].title if run.arm != START else "before training" for run in systems]
    return samples, names


def study_markdown(study: Study, report: StudyReport) -> str:
    """Format the report as Markdown, with links to the figures."""
    parts = [f"# {study.plan.title}\n", f"**{report.headline}**\n", f"{study.plan.about}\n"]
    parts += [f"- {note}" for note in report.notes] + ["## Comparisons\n"]
    rows = [[c.title, c.label, interval_text(c.cell), c.over, c.p, c.verdict] for c in report.comparisons]
    parts.append(
        pipe_table(["comparison", "by", "value, 95 % interval", "over", "p (Holm)", "verdict"], rows)
    )
    for each in report.tables:
        parts.append(f"## {each.title}\n")
        rows = [[a.title, *map(interval_text, a.cells), a.seeds] for a in each.lines]
        parts += [pipe_table(["arm", *each.heads, "seeds"], rows), f"{each.about}\n" if each.about else ""]
    parts.append("## Curves\n")
    for d in report.figures:
        parts.append(f"![{d.figure.title}](figures/{d.name}.svg)\n\n{d.figure.reading}\n")
    parts.append("## Findings of `boresight check` before the runs\n")
    rows = [[c.title, c.here, c.there, c.finding] for c in report.checks]
    parts.append(pipe_table(["arm", "as run here", "recipe at full size", "first finding"], rows))
    parts.append("## How it was run\n")
    rows = [[s.name, s.settings, s.shrunk, s.time, s.state] for s in report.setup]
    parts.append(pipe_table(["arm", "settings", "smaller than the study", "time", "state"], rows))
    parts.append(pipe_table(["environment", ""], [[k, v] for k, v in report.environment]))
    return "\n".join(parts)


def results_csv(study: Study, data: StudyData, results: Sequence[Compared]) -> str:
    """Format the results as CSV, unrounded: one line per arm and metric, then one per comparison.

    Runs that the guard stopped come last, one line each, without a value.
    """
    head = ["kind", "name", "metric", "unit", "value", "low", "high", "prompts", "missing", "seeds", "p"]
    arms = [
        ["arm", plain_text(arm), metric, METRICS[metric].unit, *numbers(mean.mean), mean.seeds, ""]
        for arm in [START, *study.plan.arms]
        for metric in METRICS
        if (mean := _mean(data, arm, metric)) is not None
    ]
    stopped = [run.name for name in study.plan.arms for run in study.stopped(name)]
    ends = [["stopped", plain_text(name), *[""] * (len(head) - 2)] for name in stopped]
    return csv_text(head, [*arms, *(_csv_row(c) for c in results if c.difference and c.shown), *ends])


def _csv_row(c: Compared) -> list[Any]:
    assert c.difference and c.shown
    name = plain_text(f"{' + '.join(c.to)} against {' + '.join(c.of)}")
    unit, seeds = METRICS[c.metric].unit, c.difference.seeds
    return ["comparison", name, c.metric, unit, *numbers(c.shown), seeds, c.p]
