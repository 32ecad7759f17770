"""Implement `boresight data check FILE --reward NAME`.

The command prints the report of the file and the rows that the reward contradicts, and writes the rows that
it confirms.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from boresight.checks.data.verified import NOUNS, VerifiedFile, refuse_output, verify
from boresight.checks.data.verified_table import print_verified
from boresight.config.dotted import apply_override
from boresight.core.errors import UserError
from boresight.core.wording import plural
from boresight.data.check_file import FileReport, print_report


def check_by_reward(
    report: FileReport,
    reward: str,
    options: Sequence[str],
    correct_at: float | None,
    write: Path | None,
    console: Console,
) -> VerifiedFile:
    """Print how the reward grades the answers, and write the rows that it confirms to `write`.

    Args:
        options: arguments of the reward, each as `name=value`.

    Returns:
        All rows of the file with their scores.

    Raises:
        UserError: for the reasons of `verify`, `refuse_output` and `VerifiedFile.write_clean`; nothing is
            written then.
    """
    if write is not None:
        refuse_output(write, report.loaded.source)
    verified = verify(report.loaded, reward, _arguments(options), correct_at)
    print_report(report, console)
    print_verified(verified, console)
    if write is not None:
        rows = plural(verified.write_clean(write), NOUNS[verified.kind])
        console.print(Text(f"{rows} that {reward} confirms in {write}"), soft_wrap=True)
    return verified


def _arguments(options: Sequence[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for option in options:
        if "=" not in option:
            raise UserError(f"--option {option}: write it as name=value, as in column=gold.")
        apply_override(arguments, option)
    return arguments
