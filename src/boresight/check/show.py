"""Findings and forecast in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from boresight.check.explain import Explanation
from boresight.check.finding import Finding
from boresight.check.forecast import Forecast, curve_in_words
from boresight.check.preflight import Report

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def print_report(report: Report, console: Console) -> None:
    """Forecast, findings, and a verdict in one line."""
    if report.forecast:
        console.print(forecast_table(report))
    print_findings(report.findings, console)
    counts = {s: sum(f.severity == s for f in report.findings) for s in STYLES}
    sampled = f", {report.sampled:,} rows tokenised" if report.sampled else ""
    verdict = (
        f"{counts['error']} errors, {counts['warning']} warnings, {counts['note']} notes "
        f"in {report.seconds:.1f} s{sampled}"
    )
    console.print(Text(verdict, style="red" if counts["error"] else "green"))


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """One block a finding: severity and name, why, fix, rows; nothing when there are none."""
    if not findings:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.severity, STYLES[finding.severity]), _told(finding))
    console.print(table)


def print_explanation(explanation: Explanation, console: Console) -> None:
    """What became of a run, then its causes in order."""
    console.print(Text(explanation.name, style="bold"))
    for sentence in explanation.outcome:
        console.print(Text(sentence))
    console.print()
    print_findings(explanation.findings, console)
    if not explanation.findings:
        console.print(Text("Nothing in the log points to a fault.", style="green"))


def _told(finding: Finding) -> Text:
    """Text from data is printed as it is, never as markup."""
    text = Text(finding.name, "bold")
    if finding.rows:
        some = ", ".join(finding.rows) + (" …" if finding.count > len(finding.rows) else "")
        text.append(f"  rows {some}", "dim")
    text.append(f"\n{finding.why}")
    text.append(f"\n→ {finding.fix}", "green")
    text.append(f"\n  {finding.link}", "dim")
    return text


def forecast_table(report: Report) -> Table:
    """What the run will do and show."""
    f = report.forecast
    assert f is not None
    table = Table(
        title="forecast",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        show_header=False,
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in [*_budget(report, f), *_expected(f), *_machine(report), *_advice(f)]:
        table.add_row(name, Text(value))
    table.add_row("", "")
    return table


def _budget(report: Report, f: Forecast) -> list[tuple[str, str]]:
    size = f", {f.parameters / 1e6:,.1f} M parameters" if f.parameters else ""
    rows = f"{report.rows:,} rows, " if report.rows else ""
    return [
        ("run", f"{f.recipe.method_name} on {f.recipe.model.name}{size}"),
        ("steps", f"{rows}{f.steps:,} steps of {f.recipe.train.batch}"),
        ("sum of learning rates", f"{f.budget:.2e}: no weight can move further than this"),
    ]


def _expected(f: Forecast) -> list[tuple[str, str]]:
    if f.margin is None or f.loss is None:
        return [("expected", "no calibrated curve for this method or a model of this size")]
    accuracy = f", accuracy about {f.margin.accuracy:.2f}" if f.margin.accuracy else ""
    m = f.margin
    return [
        ("expected margin", f"{m.middle:.2g} nats ({m.low:.2g} to {m.high:.2g}){accuracy}, held out"),
        ("expected loss", curve_in_words(f)),
        ("calibrated on", m.source),
    ]


def _machine(report: Report) -> list[tuple[str, str]]:
    if report.load is None:
        return []
    hours = report.load.hours
    duration = "" if hours is None else f", about {_duration(hours)} of training here"
    return [("machine", f"about {report.load.memory_gb:.1f} GB{duration} (to within a factor of two)")]


def _advice(f: Forecast) -> list[tuple[str, str]]:
    pure = f"{f.movable:.1%} of the weights would move in a step, were they kept in bfloat16"
    return [
        ("bfloat16", pure),
        ("ladder", f"{f.ladder} ({f.ladder.source})"),
        ("published", "; ".join(map(str, f.published))),
    ]


def _duration(hours: float) -> str:
    if hours < 0.1:
        return f"{hours * 3600:.0f} s"
    return (
        f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
    )
