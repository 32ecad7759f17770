"""Print findings in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from boresight.core.console import ERROR, WARNING, name_table, print_command, warning_console
from boresight.findings.finding import Finding
from boresight.findings.page import section

STYLES = {"error": ERROR, "warning": WARNING, "note": "cyan"}
WIDEST = max(map(len, STYLES))
INDENT = WIDEST + 2
"""Width in characters of the severity and the gap before the text of a finding."""


def print_findings(
    findings: Sequence[Finding], console: Console, commands: Mapping[str, str] | None = None
) -> None:
    """Print one block per finding: severity, name, rows, why, fix; nothing if there are no findings.

    `commands` maps names of findings to commands to try. With `--quiet`, notes are not printed.
    """
    target = warning_console(console)
    if target is not console:
        findings = [finding for finding in findings if finding.severity != "note"]
    if not findings:
        return
    for finding in findings:
        _print_finding(finding, (commands or {}).get(finding.name), target)
        target.print()


def _print_finding(finding: Finding, command: str | None, console: Console) -> None:
    severity = Text(finding.severity.ljust(WIDEST), STYLES[finding.severity])
    console.print(name_table([(severity, _finding_text(finding))]))
    if command:
        print_command(console, f"$ {command}", indent=INDENT)
    print_command(console, f"  more: boresight explain {finding.name}", indent=INDENT, style="dim")


def _finding_text(finding: Finding) -> Text:
    """Return the text of a finding; text from data is never interpreted as markup."""
    text = Text(finding.name, "bold")
    if finding.rows:
        some = ", ".join(finding.rows) + (" …" if finding.count > len(finding.rows) else "")
        alone = len(finding.rows) == 1 and finding.count <= 1
        text.append(f"  {'row' if alone else 'rows'}: {some}", "dim")
    text.append(f"\n{finding.why}")
    text.append(f"\n→ {finding.fix}", "green")
    return text


def print_section(name: str, console: Console) -> None:
    """Print the section of the findings page on the finding `name`.

    Raises:
        KeyError: no finding has this name.
    """
    console.print(Text(name, "bold"))
    console.print(Text(section_text(name)))


def section_text(name: str) -> str:
    """Return the section of the findings page on the finding `name`, as one paragraph.

    Raises:
        KeyError: no finding has this name.
    """
    return " ".join(section(name).split())
