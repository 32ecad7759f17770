"""The report of a study: index.html, results.md, results.csv and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from boresight.core.files import write_text
from boresight.core.schema import Prompt
from boresight.experiments.study import preflight, storage
from boresight.experiments.study.figures import Drawn, drawn, standalone
from boresight.experiments.study.metrics import METRICS
from boresight.experiments.study.plan import ArmRun, arm_runs, as_published
from boresight.experiments.study.read import Found, read
from boresight.experiments.study.results import Compared, compared, headline, mean_of, sentence
from boresight.experiments.study.storage import START, Study
from boresight.experiments.sweep.table import time_in_words
from boresight.reports.page import page, write_page
from boresight.reports.tables.files import csv_text, numbers, pipe_table, plain_text
from boresight.reports.tables.intervals import Cell, interval_cell, interval_text
from boresight.reports.tables.metrics import Drawing, draw_intervals
from boresight.stats.over_seeds import OverSeeds
from boresight.stats.units import unit_named

ROLES = {"published": "published", "tuned": "tuned", "other": ""}


@dataclass(frozen=True)
class ArmLine:
    """One arm in the table of its group."""

    title: str
    role: str
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
    """What `check` says of an arm: here, with the study's numbers, and its first finding."""

    title: str
    here: str
    there: str
    finding: str


@dataclass(frozen=True)
class SetupLine:
    """How an arm was run."""

    name: str
    title: str
    settings: str
    shrunk: str
    time: str
    state: str


@dataclass(frozen=True)
class Contents:
    """Everything the report tells, in words and numbers."""

    headline: str
    sentences: list[str]
    notes: list[str]
    comparisons: list[ComparedLine]
    tables: list[GroupTable]
    figures: list[Drawn]
    checks: list[CheckLine]
    setup: list[SetupLine]
    environment: list[tuple[str, str]]


def write(study: Study) -> Path:
    """Write the report of what has finished so far; returns the path of the page."""
    found = read(study)
    results = compared(found.measured, study.plan.comparisons)
    told = contents(study, found, results)
    folder = study.report
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for figure in told.figures:
        write_text(folder / "figures" / f"{figure.name}.svg", standalone(figure))
    write_text(folder / "results.csv", comma_separated(study, found, results))
    write_text(folder / "results.md", markdown(study, told))
    write_page(folder / "index.html", render(study, found, told))
    return folder / "index.html"


def contents(study: Study, found: Found, results: Sequence[Compared]) -> Contents:
    """What the report says."""
    plan = study.plan
    titles = {name: arm.title for name, arm in plan.arms.items()}
    return Contents(
        headline=headline(results),
        sentences=[sentence(c, titles) for c in results if c.difference],
        notes=unfinished(study),
        comparisons=[_compared_line(c) for c in results],
        tables=[table(study, found, name) for name in plan.groups],
        figures=drawn(study),
        checks=[_check_line(study, name) for name in plan.arms],
        setup=[_setup_line(study, name) for name in plan.arms],
        environment=_environment(study),
    )


def unfinished(study: Study) -> list[str]:
    """A sentence for each arm that failed, and one for those that are still to be run."""
    said, left = [], []
    for run in arm_runs(study.plan):
        outcome = study.outcome(run)
        if outcome is None:
            left.append(run)
        elif outcome.why:
            said.append(f"{study.plan.arms[run.arm].title}, seed {run.seed}, {outcome.why}")
    if left:
        total = len(arm_runs(study.plan))
        said.append(f"{len(left)} of {total} runs have not ended yet; the same command goes on with them.")
    return said


def table(study: Study, found: Found, group: str) -> GroupTable:
    """A group's arms with what was measured of them; the start model first where it answered."""
    section = study.plan.groups[group]
    lines = []
    if study.plan.answers and group in study.plan.answers.groups and START in found.measured:
        cells = [_cell(found, START, metric) for metric in section.metrics]
        lines.append(ArmLine(f"{study.plan.answers.start}, before training", "", cells, "–"))
    for name, arm in study.plan.arms.items():
        if arm.group == group:
            cells = [_cell(found, name, metric) for metric in section.metrics]
            done = [seed for seed in arm.seeds if study.finished(ArmRun(name, seed))]
            lines.append(ArmLine(arm.title, ROLES[arm.role], cells, f"{len(done)} of {len(arm.seeds)}"))
    return GroupTable(section.title, [METRICS[m].label for m in section.metrics], lines, section.about)


def _mean(found: Found, arm: str, metric: str) -> OverSeeds | None:
    return mean_of(found.measured.get(arm, {}).get(metric, {}), metric)


def _cell(found: Found, arm: str, metric: str) -> Cell | None:
    mean = _mean(found, arm, metric)
    return interval_cell(mean and mean.mean, unit_named(METRICS[metric].unit), n=True)


def _compared_line(c: Compared) -> ComparedLine:
    metric, shown = METRICS[c.metric], c.shown
    if shown is None or c.difference is None:
        return ComparedLine(c.title, metric.label, None, None, "", "", c.verdict)
    unit = unit_named(metric.unit)
    seeds = "1 seed" if c.difference.seeds == 1 else f"{c.difference.seeds} seeds"
    return ComparedLine(
        title=c.title,
        label=metric.label,
        cell=interval_cell(shown, unit, signed=c.metric != "win_rate"),
        drawing=draw_intervals({"after": shown}, unit, null=metric.even),
        over=f"{seeds}, {shown.n:,} prompts",
        p=f"{c.p:.2g}",
        verdict=c.verdict,
    )


def _check_line(study: Study, name: str) -> CheckLine:
    arm = study.plan.arms[name]
    told = storage.read_json(study.job_folder(ArmRun(name, arm.seeds[0])) / "check.json")
    full = preflight.at_full_size(as_published(study.plan, study.here, name))
    return CheckLine(
        arm.title,
        preflight.in_words(told) if told else "not run yet",
        preflight.in_words(full) if full else "",
        preflight.first_finding(told) if told else "",
    )


def _setup_line(study: Study, name: str) -> SetupLine:
    arm = study.plan.arms[name]
    recipe = study.recipe(ArmRun(name, arm.seeds[0]))
    outcomes = [study.outcome(ArmRun(name, seed)) for seed in arm.seeds]
    ended = [o for o in outcomes if o is not None]
    own = {k: v for k, v in recipe.method.model_dump().items() if k in ("beta", "tau", "alpha")}
    trains = "LoRA" if recipe.model.lora else "all weights"
    length = f"{recipe.train.steps:,} steps" if recipe.train.steps else f"{recipe.train.epochs or 1:g} epochs"
    numbers = ", ".join(f"{k} {v:g}" for k, v in own.items() if isinstance(v, (int, float)))
    words = [recipe.method_name, trains, f"lr {recipe.optim.lr:g}", numbers]
    words.append(f"{length} of {recipe.train.batch}")
    state = "finished" if sum(not o.why for o in ended) == len(arm.seeds) else f"{len(ended)} ended"
    seeds = ", ".join(map(str, arm.seeds))
    return SetupLine(
        name,
        arm.title,
        ", ".join(word for word in words if word),
        arm.shrunk,
        time_in_words(sum(o.seconds for o in ended)) if ended else "–",
        f"{state}; seeds {seeds}",
    )


def _environment(study: Study) -> list[tuple[str, str]]:
    from boresight.reports.facts import texts

    told = texts(storage.read_json(study.folder / "environment.json") or {})
    return [(name.rsplit(".", 1)[-1], value) for name, value in told.items()]


def render(study: Study, found: Found, told: Contents) -> str:
    """The page as text."""
    samples, columns = shown_answers(study, found)
    return page(
        "study.html.j2",
        title=study.plan.title,
        about=study.plan.about,
        told=told,
        figures=[(d, Markup(d.svg)) for d in told.figures],
        has_samples=bool(samples),
        payload={
            "figures": [],
            "columns": columns,
            "outcomes": [
                f"Passes only with {columns[-1]}" if columns else "",
                f"Passes only with {columns[0]}" if columns else "",
                "Passes with neither",
            ],
            "samples": samples,
        },
    )


def shown_answers(study: Study, found: Found) -> tuple[list[dict[str, Any]], list[str]]:
    """Held-out prompts with the answers of the start model and of the arms that the plan shows."""
    from boresight.tasks.constraints.evaluation import check_answer, checkable

    asked = study.plan.answers
    if asked is None:
        return [], []
    wanted = [ArmRun(START, 0), *(ArmRun(arm, study.plan.arms[arm].seeds[0]) for arm in asked.shown)]
    systems = {run: found.answers[run] for run in wanted if run in found.answers}
    if not systems:
        return [], []

    def checks(prompt: Prompt, answer: str | None) -> dict[str, bool]:
        return check_answer(prompt.meta, answer) if answer is not None and checkable(prompt.meta) else {}

    samples = []
    for prompt in found.prompts:
        answers = [system.answers.get(prompt.id) for system in systems.values()]
        samples.append(
            {
                "id": prompt.id,
                "prompt": prompt.prompt,
                "answers": answers,
                "checks": [checks(prompt, answer) for answer in answers],
            }
        )
    names = [study.plan.arms[run.arm].title if run.arm != START else "before training" for run in systems]
    return samples, names


def markdown(study: Study, told: Contents) -> str:
    """The report without its drawings, for places that show Markdown."""
    parts = [f"# {study.plan.title}\n", f"**{told.headline}**\n", f"{study.plan.about}\n"]
    parts += [f"- {note}" for note in told.notes] + ["## Comparisons\n"]
    rows = [[c.title, c.label, interval_text(c.cell), c.over, c.p, c.verdict] for c in told.comparisons]
    parts.append(
        pipe_table(["comparison", "by", "value, 95 % interval", "over", "p (Holm)", "verdict"], rows)
    )
    for each in told.tables:
        parts.append(f"## {each.title}\n")
        rows = [[a.title, *map(interval_text, a.cells), a.seeds] for a in each.lines]
        parts += [pipe_table(["arm", *each.heads, "seeds"], rows), f"{each.about}\n" if each.about else ""]
    parts.append("## Curves\n")
    for d in told.figures:
        parts.append(f"![{d.figure.title}](figures/{d.name}.svg)\n\n{d.figure.reading}\n")
    parts.append("## What `boresight check` says beforehand\n")
    rows = [[c.title, c.here, c.there, c.finding] for c in told.checks]
    parts.append(pipe_table(["arm", "as run here", "recipe at full size", "first finding"], rows))
    parts.append("## How it was run\n")
    rows = [[s.name, s.settings, s.shrunk, s.time, s.state] for s in told.setup]
    parts.append(pipe_table(["arm", "settings", "smaller than the study", "time", "state"], rows))
    parts.append(pipe_table(["environment", ""], [[k, v] for k, v in told.environment]))
    return "\n".join(parts)


def comma_separated(study: Study, found: Found, results: Sequence[Compared]) -> str:
    """Unrounded: a line for every arm and metric, then one for every comparison."""
    head = ["kind", "name", "metric", "unit", "value", "low", "high", "prompts", "missing", "seeds", "p"]
    arms = [
        ["arm", plain_text(arm), metric, METRICS[metric].unit, *numbers(mean.mean), mean.seeds, ""]
        for arm in [START, *study.plan.arms]
        for metric in METRICS
        if (mean := _mean(found, arm, metric)) is not None
    ]
    return csv_text(head, [*arms, *(_csv_row(c) for c in results if c.difference and c.shown)])


def _csv_row(c: Compared) -> list[Any]:
    assert c.difference and c.shown
    name = plain_text(f"{' + '.join(c.to)} against {' + '.join(c.of)}")
    unit, seeds = METRICS[c.metric].unit, c.difference.seeds
    return ["comparison", name, c.metric, unit, *numbers(c.shown), seeds, c.p]
