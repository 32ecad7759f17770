"""Compare several runs on one page: their set-up, metrics, curves and answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight.config import dotted
from boresight.core.console import RESULT_WIDTH, at_most
from boresight.core.errors import UserError
from boresight.core.printable import Printable
from boresight.core.wording import cut_at_tokens
from boresight.reports.figures import overlaid, run_color
from boresight.reports.headline import comparison_headline, direction, guard_sentences
from boresight.reports.page import check_page_path, page, write_page
from boresight.reports.read_run import Metric, RunData, read_run
from boresight.reports.same_rows import PairedDifference, differences_by_row, paired_with_first
from boresight.reports.tables.files import Table, TableRow, write_tables
from boresight.reports.tables.intervals import Cell, interval_cell
from boresight.reports.tables.metrics import VERDICTS, Drawing, draw_intervals
from boresight.reports.tables.setup import keyed_value_in_words
from boresight.reports.tables.terminal import paired_table
from boresight.stats.intervals import Interval, holm, mcnemar, paired_difference
from boresight.stats.units import unit_named
from boresight.stats.verdict import after_holm, verdict

if TYPE_CHECKING:
    from rich.console import Console


ABSENT = object()
"""Value of a setting that a run does not have."""
HASH_SHOWN = 12
"""Number of characters of a hash that are shown."""


@dataclass(frozen=True)
class Difference:
    """One setting that differs between runs, with its value in each run; '' for a run without it."""

    key: str
    values: list[str]


@dataclass(frozen=True)
class DifferenceCell:
    """A paired difference to the first run as text, and its verdict, which is also the name of its CSS
    class."""

    cell: Cell
    verdict: str
    p: str
    """p-value after Holm's adjustment, as text; '' if there is a single comparison."""


@dataclass(frozen=True)
class SharedMetric:
    """One metric of several runs after training.

    There is a cell per run, and for each later run the paired difference to the first run.
    """

    label: str
    cells: list[Cell | None]
    differences: list[DifferenceCell | None]
    drawing: Drawing | None


@dataclass(frozen=True)
class Comparison(Printable):
    """Comparison of runs: verdicts, differences of their settings, and the path of the page."""

    runs: list[RunData]
    verdicts: list[str]
    differences: list[Difference]
    page: Path

    def show(self, console: Console) -> None:
        """Print the verdicts, which runs the guard stopped, the metrics and what differs.

        Lines have at most 80 columns, but for the path.
        """
        baseline, *others = self.runs
        with at_most(console, RESULT_WIDTH):
            for sentence in self.verdicts:
                console.print(sentence, markup=False, highlight=False)
            for note in stops(self.runs):
                console.print(note, markup=False, highlight=False)
            for number, run in enumerate(others):
                console.print(paired_table(metrics_of_two(self.runs, number), run.name, baseline.name))
            for differing in self.differences:
                line = f"{differing.key}: {' | '.join(differing.values)}"
                console.print(line, markup=False, highlight=False)
        console.print(f"page: {self.page}", markup=False, highlight=False, soft_wrap=True)


def write_comparison(runs: Sequence[Path], path: Path) -> Comparison:
    """Write the page that compares two or more run folders to `path`; the first run is the baseline.

    The metrics are written beside it as Markdown, CSV and LaTeX.
    """
    if len(runs) < 2:
        raise UserError("A comparison needs at least two run folders; for one run use `boresight report`.")
    check_page_path(path)
    folders = [run.resolve() for run in runs]
    if twice := next((run for run, at in zip(runs, folders, strict=True) if folders.count(at) > 1), None):
        raise UserError(f"{twice} is given twice; compare it with another run.")
    found = [read_run(run) for run in runs]
    if len({run.name for run in found}) < len(found):
        found = [replace(run, name=str(run.folder)) for run in found]
    write_page(path, render_comparison(found))
    write_tables(path, comparison_table(found))
    return Comparison(found, verdicts(found), config_differences(found), path)


def comparison_table(runs: Sequence[RunData]) -> Table:
    """Every metric after training, a column per run and per paired difference to the first."""
    rows = [
        TableRow(
            metric.label,
            metric.unit,
            [
                *(_after(run, metric) for run in runs),
                *(found and found.interval for found in paired_with_first(runs, metric)),
            ],
        )
        for metric in _quantities(runs)
    ]
    differences = tuple(f"{run.name} - {runs[0].name}" for run in runs[1:])
    return Table("metric", [*(run.name for run in runs), *differences], rows, differences)


def metrics_of_two(runs: Sequence[RunData], number: int) -> list[Metric]:
    """Return every metric of two runs: the value of the first run as `before`, of a later run as `after`.

    All values are those after training. A difference that is not significant after Holm's adjustment counts
    as neither better nor worse.

    Args:
        number: number of the later run, from 0.
    """
    baseline, run = runs[0], runs[1 + number]
    found = []
    for metric in _quantities([baseline, run]):
        paired = paired_with_first(runs, metric)[number]
        found.append(
            replace(
                metric,
                before=_after(baseline, metric),
                after=_after(run, metric),
                difference=paired and paired.interval,
                better=metric.better if paired and paired.is_resolved else "neither",
            )
        )
    return found


def _quantities(runs: Sequence[RunData]) -> list[Metric]:
    """The first metric of every quantity that any run has."""
    found: dict[object, Metric] = {}
    for metric in (metric for run in runs for metric in run.metrics):
        found.setdefault(metric.quantity, metric)
    return list(found.values())


def _after(run: RunData, metric: Metric) -> Interval | None:
    """The value after training of the same quantity; None where the run has none."""
    return next((own.after for own in run.metrics if own.quantity == metric.quantity), None)


def render_comparison(runs: Sequence[RunData]) -> str:
    """Return the page as HTML."""
    drawn, samples = overlaid(runs), shared_prompts(runs)
    return page(
        "compare.html.j2",
        title=" · ".join(run.name for run in runs),
        runs=[(run.name, run_color(number)) for number, run in enumerate(runs, start=1)],
        notes=[*stops(runs), *(f"{run.name}: {note}" for run in runs for note in run.notes)],
        headline=_headline(runs),
        verdicts=verdicts(runs),
        metrics=shared_metrics(runs),
        differences=config_differences(runs),
        figures=drawn,
        has_samples=bool(samples),
        payload={
            "columns": [run.name for run in runs],
            "files": "samples.jsonl of each run",
            "outcomes": [f"Met only by {runs[-1].name}", f"Met only by {runs[0].name}", "Met by neither"],
            "samples": samples,
        },
    )


def stops(runs: Sequence[RunData]) -> list[str]:
    """Return a sentence for every run that the guard stopped, with the step of its model."""
    return [f"{run.name}: {sentence}" for run in runs for sentence in guard_sentences(run)]


def _headline(runs: Sequence[RunData]) -> str:
    """Return the outcome by the first metric or, without one, by the checks of the answers."""
    found = (comparison_headline(runs), *verdicts(runs))
    return next(filter(None, found), "The runs share no prompts and no rows, so no difference is paired.")


def config_differences(runs: Sequence[RunData]) -> list[Difference]:
    """Return the settings, data facts and versions that differ between the runs, section by section.

    The time at which a run began differs between any two runs and is omitted.
    """
    facts = [
        dotted.flat(run.config)
        | dotted.flat(run.data, "data.")
        | dotted.flat(run.environment, "environment.")
        for run in runs
    ]
    found = dotted.differences(*facts, absent=ABSENT)
    found.pop("environment.started", None)
    sections = list(dict.fromkeys(key.partition(".")[0] for key in found))
    ordered = sorted(found, key=lambda key: sections.index(key.partition(".")[0]))
    return [Difference(key, _readable(key, found[key])) for key in ordered]


def _readable(key: str, values: Sequence[object]) -> list[str]:
    """Return the values in words, or unchanged if different values would then look the same."""
    exact = ["" if value is ABSENT else str(value) for value in values]
    words = [text and keyed_value_in_words(key, value) for text, value in zip(exact, values, strict=True)]
    if key.endswith("sha256"):
        words = [text[:HASH_SHOWN] for text in exact]
    return words if len(set(words)) == len(set(exact)) else exact


def shared_metrics(runs: Sequence[RunData]) -> list[SharedMetric]:
    """Every metric that any run has, with the value after training of each."""
    found = []
    for metric in _quantities(runs):
        unit = unit_named(metric.unit)
        after = [_after(run, metric) for run in runs]
        cells = [interval_cell(interval, unit, n=True) for interval in after]
        marks = {run_color(number): interval for number, interval in enumerate(after, start=1)}
        differences = [d and _difference_cell(metric, d) for d in paired_with_first(runs, metric)]
        found.append(SharedMetric(metric.label, cells, differences, draw_intervals(marks, unit)))
    return found


def _difference_cell(metric: Metric, found: PairedDifference) -> DifferenceCell:
    verdict = direction(replace(metric, difference=found.interval)) if found.is_resolved else "unresolved"
    cell = interval_cell(found.interval, unit_named(metric.unit), signed=True, n=True)
    return DifferenceCell(cell, VERDICTS.get(verdict, verdict), "" if found.alone else f"{found.p:.2g}")


def verdicts(runs: Sequence[RunData]) -> list[str]:
    """Return sentences that compare each later run with the first.

    The runs are compared by checks of answers and by held-out numbers. Answers are paired by the prompt's id
    and text, numbers by row or prompt. With several comparisons, p-values (McNemar's for the answers) are
    adjusted by Holm's method.
    """
    baseline, *others = runs
    outcomes = [_all_checks_met(run) for run in runs]
    found = []
    for run, theirs in zip(others, outcomes[1:], strict=True):
        if set(outcomes[0]) & set(theirs):
            difference = paired_difference(outcomes[0], theirs)
            said = verdict(difference, a=baseline.name, b=run.name, unit="share")
            said = f"All checks met: {said}"
            found.append((said, mcnemar(outcomes[0], theirs).p, difference.excludes_zero))
    by_row = differences_by_row(runs)
    if len(found) < 2:
        return [*(said for said, *_ in found), *by_row]
    adjusted = holm([p for _, p, _ in found])
    by_prompt = [
        after_holm(said, p, resolved) for (said, _, resolved), p in zip(found, adjusted, strict=True)
    ]
    return by_prompt + by_row


def _all_checks_met(run: RunData) -> dict[str, bool]:
    """Return whether the trained model's answer to each prompt meets all checks.

    The keys are id and text of the prompt, because ids may be row numbers of different files. Of equal
    prompts, the first one counts.
    """
    repeated = run.same_prompts.answers if run.same_prompts else {}
    return {
        json.dumps([sample.id, sample.prompt]): all(sample.checks[-1].values())
        for sample in run.samples
        if sample.checks[-1] and sample.id not in repeated
    }


def shared_prompts(runs: Sequence[RunData]) -> list[dict[str, Any]]:
    """Return the prompts that every run answered, with each run's answer after training.

    Prompts are matched by id and text.
    """
    by_id = [{sample.id: sample for sample in run.samples} for run in runs]
    rows = []
    for sample in runs[0].samples:
        same = [s for samples in by_id if (s := samples.get(sample.id)) and s.prompt == sample.prompt]
        if len(same) == len(runs):
            rows.append(
                {
                    "id": sample.id,
                    "prompt": sample.prompt,
                    "answers": [other.answers[-1] for other in same],
                    "checks": [other.checks[-1] for other in same],
                    "cuts": [cut_at_tokens(other.cut_at[-1] if other.cut_at else None) for other in same],
                    "notes": [
                        (f"{run.name} after step {step:,}", said)
                        for run, other in zip(runs, same, strict=True)
                        for step, said in other.between
                    ],
                }
            )
    return rows
