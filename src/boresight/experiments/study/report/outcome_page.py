"""Write the page of a plan with blocks from the plan and its files of results alone.

The page is written beside the folder of results: index.html, results.md, results.csv and figures. The same
files of results give the same bytes on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from boresight.core.files import write_text
from boresight.experiments.study import plan as plans
from boresight.experiments.study.outcomes.questions import question_sentence
from boresight.experiments.study.plan import StudyPlan
from boresight.experiments.study.report.figures import standalone
from boresight.experiments.study.report.outcome_report import OutcomeReport, outcome_report
from boresight.experiments.study.report.result_tables import results_csv_text, table_markdown, used_columns
from boresight.reports.page import page
from boresight.reports.tables.files import pipe_table

COST_COLUMNS = ("block", "runs", "time", "verifier calls", "trained tokens")


def page_folder(plan: StudyPlan) -> Path:
    """Return the folder of the page: the parent of the folder of results."""
    return Path(str(plan.outcomes)).parent


def write_outcome_page(plan: StudyPlan, here: Path, changes: Sequence[str] = ()) -> Path:
    """Write the page with all results that exist so far; return its path.

    Args:
        here: folder of the plan, to which its recipes are relative.
        changes: changes of the plan from the command line, which the page lists.

    Raises:
        UserError: a file of results is torn or lacks something, or the plan's protocol does not exist.
    """
    plans.refuse_missing_protocol(plan)
    folder = page_folder(plan)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, text in outcome_page_files(plan, here, changes).items():
        path = folder / name
        path.unlink(missing_ok=True) if text is None else write_text(path, text)
    return folder / "index.html"


def outcome_page_files(plan: StudyPlan, here: Path, changes: Sequence[str] = ()) -> dict[str, str | None]:
    """Return the contents of all files of the page by relative path; None for a file to be deleted."""
    report = outcome_report(plan, here, changes)
    return {
        **{f"figures/{name}.svg": svg for name, svg in _figures(report).items()},
        "results.csv": results_csv_text(report.tables),
        "results.md": outcome_markdown(plan, report),
        "index.html": render_outcome_page(plan, report),  # last, so that all files it links to exist
    }


def _figures(report: OutcomeReport) -> Mapping[str, str | None]:
    """Return the SVG text of all figures by name; None for a figure without data."""
    figures = {"questions": report.forest.file if report.forest else None}
    for part in report.blocks:
        name = part.results.name
        figures[f"{name}-arms"] = part.forest.file if part.forest else None
        figures[f"{name}-curves"] = standalone(part.curves) if part.curves else None
        figures |= {figure.name: standalone(figure) for figure in part.judged}
    return figures


def render_outcome_page(plan: StudyPlan, report: OutcomeReport) -> str:
    """Render the page as HTML."""
    return page(
        "outcomes.html.j2",
        title=plan.title,
        about=plan.about,
        report=report,
        deviations=plan.deviations,
        protocol=_protocol(plan),
        used={table.block: used_columns(table) for table in report.tables},
        drawn=Markup,
        cost_columns=COST_COLUMNS,
    )


def _protocol(plan: StudyPlan) -> tuple[str, str, str] | None:
    """Return path, link from the page, and content of the plan's protocol; None if it has none."""
    if plan.protocol is None:
        return None
    path = Path(plan.protocol)
    link = Path(os.path.relpath(path, page_folder(plan))).as_posix()
    return plan.protocol, link, path.read_text(encoding="utf-8", errors="replace")


def outcome_markdown(plan: StudyPlan, report: OutcomeReport) -> str:
    """Format the results as Markdown: sentences, tables, and links to the figures."""
    parts = [f"# {plan.title}\n", f"**{report.headline}**\n", f"{plan.about}\n"]
    parts += [f"- {note}" for note in report.notes] + [""] * bool(report.notes)
    if report.questions:
        plot = ["![The questions](figures/questions.svg)\n"] if report.forest else []
        sentences = [f"- {question_sentence(each)}" for each in report.questions]
        parts += ["## Questions\n", *plot, *sentences, ""]
    for part in report.blocks:
        parts += [f"## {part.results.block.title}\n", f"{part.about}\n", table_markdown(part.table)]
        parts += [f"![Arms against the start](figures/{part.results.name}-arms.svg)\n"] if part.forest else []
        parts += [f"![Curves](figures/{part.results.name}-curves.svg)\n"] if part.curves else []
        parts += [f"![{figure.figure.title}](figures/{figure.name}.svg)\n" for figure in part.judged]
    parts += ["## Costs\n", pipe_table(COST_COLUMNS, report.costs), "## Deviations from the plan\n"]
    parts += [f"- {each.date}: {' '.join(each.text.split())}" for each in plan.deviations] or ["None."]
    return "\n".join([*parts, ""])
