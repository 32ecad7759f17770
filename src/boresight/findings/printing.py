"""Findings in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from boresight.core.console import ERROR, WARNING, name_table, warning_console
from boresight.findings.finding import Finding
from boresight.findings.page import section

STYLES = {"error": ERROR, "warning": WARNING, "note": "cyan"}


def print_findings(
    findings: Sequence[Finding], console: Console, commands: Mapping[str, str] | None = None
) -> None:
    """One block per finding: severity and name, why, fix, rows; nothing when there are none.

    `commands` maps names of findings to commands to try. With `--quiet` notes are not shown.
    """
    target = warning_console(console)
    if target is not console:
        findings = [finding for finding in findings if finding.severity != "note"]
    if not findings:
        return
    rows = [
        (Text(finding.severity, STYLES[finding.severity]), _told(finding, (commands or {}).get(finding.name)))
        for finding in findings
    ]
    target.print(name_table(rows, gap=1))


def _told(finding: Finding, command: str | None) -> Text:
    """Text from data is printed as it is, never as markup."""
    text = Text(finding.name, "bold")
    if finding.rows:
        some = ", ".join(finding.rows) + (" …" if finding.count > len(finding.rows) else "")
        text.append(f"  rows {some}", "dim")
    text.append(f"\n{finding.why}")
    text.append(f"\n→ {finding.fix}", "green")
    if command:
        text.append(f"\n$ {command}", "bold")
    text.append(f"\n  more: boresight explain {finding.name}", "dim")
    return text


def print_section(name: str, console: Console) -> None:
    """Print the section of the findings page on the finding `name`.

    Raises:
        KeyError: no finding has this name.
    """
    console.print(Text(name, "bold"))
    console.print(Text(section_text(name)))


def section_text(name: str) -> str:
    """The section of the findings page on the finding `name`, as one paragraph. Raises KeyError if no finding
    has this name."""
    return " ".join(section(name).split())
