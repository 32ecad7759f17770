"""Findings in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from boresight.core.console import name_table
from boresight.findings.finding import Finding

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """One block a finding: severity and name, why, fix, rows; nothing when there are none."""
    if not findings:
        return
    rows = [(Text(finding.severity, STYLES[finding.severity]), _told(finding)) for finding in findings]
    console.print(name_table(rows, gap=1))


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
