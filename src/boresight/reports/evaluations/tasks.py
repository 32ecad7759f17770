"""Write the page of an evaluation on tasks: differences by metric, and single documents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boresight.core.wording import is_or_are, plural
from boresight.evaluation.harness.comparison import Key, TaskComparison, label
from boresight.evaluation.harness.documents import Document
from boresight.reports.evaluations.graded import ALONE, BADGES, KINDS, as_metric, outcome_tag
from boresight.reports.page import page, write_page
from boresight.reports.tables.files import Table, TableRow, write_tables
from boresight.reports.tables.metrics import metric_rows
from boresight.stats.units import format_number

MOST_SHOWN = 300
"""Maximum number of documents of a task on the page; those whose score changed come first.
`documents-SYSTEM.jsonl` has all."""


def write_tasks_page(path: Path, found: TaskComparison) -> Path:
    """Write the page to `path`, the metrics beside it as Markdown, CSV and LaTeX, and return the path."""
    write_page(path, render_tasks(found))
    write_tables(path, tasks_table(found))
    return path


def tasks_table(found: TaskComparison) -> Table:
    """Return a table with a row per metric, and a column per system and per difference to the first."""
    names, measured = list(found.systems), found.measured
    others = names[1:]
    rows = [
        TableRow(
            label(key),
            found.unit(key),
            [
                measured[others[0]][i].before if others else measured[names[0]][i].after,
                *(measured[name][i].after for name in others),
                *(measured[name][i].difference for name in others),
            ],
        )
        for i, key in enumerate(found.keys)
    ]
    differences = [f"{name} - {found.reference}" for name in others]
    return Table("task", [*names, *differences], rows, differences=tuple(differences))


def render_tasks(found: TaskComparison) -> str:
    """Return the page as HTML."""
    names = list(found.systems)
    samples = _samples(found)
    hidden = sum(len(found.values(found.reference, key)) for key in found.deciding) - len(samples)
    more = plural(hidden, "more document")
    cut = f"{more} {is_or_are(hidden)} in documents-{names[0]}.jsonl and its like." if hidden else ""
    return page(
        "graded.html.j2",
        title=" · ".join(names),
        headline=_headline(found),
        verdicts=found.verdicts,
        graded_by="Tasks of lm-evaluation-harness; a task's first metric decides its verdict.",
        seeds=[],
        notes=[*found.notes, *([cut] if cut else [])],
        reference=names[0],
        tables=[
            (name, metric_rows(list(map(as_metric, measured)))) for name, measured in found.measured.items()
        ],
        figures=[],
        payload={
            "columns": names,
            "files": "documents-SYSTEM.jsonl",
            "outcomes": [],
            "kinds": KINDS if len(names) > 1 else ALONE,
            "samples": samples,
        },
    )


def _headline(found: TaskComparison) -> str:
    """Return on how many tasks the second system is significantly worse or better than the first.

    For any other number of systems, the phrase has their number or the name of the only one.
    """
    names = list(found.systems)
    if len(names) != 2:
        tasks = plural(len(found.deciding), "task")
        return f"{len(names)} systems on {tasks}" if len(names) > 2 else f"{names[0]} alone"
    gains = [
        (one.difference if one.better == "higher" else one.difference.scaled(-1))
        for key, one in zip(found.keys, found.measured[names[1]], strict=True)
        if key in found.deciding and one.difference is not None
    ]
    lost, won = sum(gain.high < 0 for gain in gains), sum(gain.low > 0 for gain in gains)
    total = len(found.deciding)
    if not lost and not won:
        return f"{names[1]} and {names[0]} show no significant difference on {plural(total, 'task')}"
    moved = " and ".join([*([f"loses on {lost}"] if lost else []), *([f"gains on {won}"] if won else [])])
    return f"{names[1]} {moved} of {plural(total, 'task')}"


def _samples(found: TaskComparison) -> list[dict[str, Any]]:
    """Return the documents of every task, at most `MOST_SHOWN` of each."""
    return [row for key in found.deciding for row in _of_task(found, key)]


def _of_task(found: TaskComparison, key: Key) -> list[dict[str, Any]]:
    by_system = [
        {d.id: d for d in documents if (d.task, d.filter) == key[:2]} for documents in found.systems.values()
    ]
    rows = [_row(found, key, number, by_system) for number in by_system[0]]
    rows.sort(key=lambda row: row["tags"][0] not in ("better", "worse"))
    return rows[:MOST_SHOWN]


def _row(
    found: TaskComparison, key: Key, number: int, by_system: list[dict[int, Document]]
) -> dict[str, Any]:
    documents = [of_system.get(number) for of_system in by_system]
    scores = [None if d is None else d.scores.get(key[2]) for d in documents]
    flip = -1.0 if found.better(key) == "lower" and len(scores) > 1 else 1.0
    tag = outcome_tag([None if score is None else flip * score for score in scores])
    first = by_system[0][number]
    return {
        "id": f"{key[0]} {number}",
        "prompt": [{"role": "user", "content": first.prompt}],
        "answers": [None if d is None else d.response for d in documents],
        "checks": [{} for _ in documents],
        "tags": [tag],
        "outcome": [tag, BADGES.get(tag, "")],
        "notes": [
            (f"{name}: scores", _scores(document.scores))
            for name, document in zip(found.systems, documents, strict=True)
            if document is not None
        ]
        + [("target", first.target)],
    }


def _scores(scores: Mapping[str, float | None]) -> str:
    return "\n".join(
        f"{metric} {'missing' if score is None or math.isnan(score) else format_number(score)}"
        for metric, score in scores.items()
    )
