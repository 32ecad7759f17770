"""`boresight data check FILE --reward NAME`: the report, what the reward contradicts, the clean pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from boresight.checks.data.verified_pairs import refuse_output, verify_pairs
from boresight.checks.data.verified_pairs_table import print_verified
from boresight.config.dotted import apply_override
from boresight.core.errors import UserError
from boresight.data.check_file import FileReport, print_report


def check_pairs(
    report: FileReport,
    reward: str,
    options: Sequence[str],
    correct_at: float | None,
    write: Path | None,
    console: Console,
) -> bool:
    """Print what the reward says of the pairs, and write those that it confirms to `write`.

    Args:
        options: arguments of the reward, each as `name=value`.

    Returns:
        Whether the reward contradicts a pair.

    Raises:
        UserError: as `verify_pairs`, `refuse_output` and `VerifiedPairs.write_clean` do; nothing is written.
    """
    if write is not None:
        refuse_output(write, report.loaded.source)
    verified = verify_pairs(report.loaded, reward, _arguments(options), correct_at)
    print_report(report, console)
    print_verified(verified, console)
    if write is not None:
        count = verified.write_clean(write)
        console.print(Text(f"{count:,} pairs that {reward} confirms in {write}"), soft_wrap=True)
    return bool(verified.contradicted)


def _arguments(options: Sequence[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for option in options:
        if "=" not in option:
            raise UserError(f"--option {option}: write it as name=value, as in column=gold.")
        apply_override(arguments, option)
    return arguments
