"""Values that print as the command line prints them, and show themselves in a notebook."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 110
PRE = '<pre style="white-space: pre; overflow-x: auto; line-height: 1.35">{code}</pre>'


class Printable(ABC):
    """A result with one way to be shown: `print(result)` and a notebook's cell both use it."""

    @abstractmethod
    def show(self, console: Console) -> None:
        """Print to a rich console."""

    def __str__(self) -> str:
        text = io.StringIO()
        self._print_to(text)
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        # rich escapes what it exports, so text from data stays text.
        return self._print_to(io.StringIO()).export_html(inline_styles=True, code_format=PRE)

    def _print_to(self, file: io.StringIO) -> Console:
        """A console that has printed the result to `file` and recorded it."""
        from boresight.core.console import Terminal

        console = Terminal(file=file, record=True, width=WIDTH, force_terminal=False, force_jupyter=False)
        self.show(console)
        return console
