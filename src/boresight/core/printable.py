"""Results that print the same text in a terminal and in a notebook."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PRE = '<pre style="white-space: pre; overflow-x: auto; line-height: 1.35">{code}</pre>'


class Printable(ABC):
    """Base class of results: `print(result)` and notebook cells both display the output of `show`."""

    @abstractmethod
    def show(self, console: Console) -> None:
        """Print the result to a rich console."""

    def __str__(self) -> str:
        text = io.StringIO()
        self._print_to(text)
        return text.getvalue().rstrip()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return text and HTML for IPython and notebook files; a plain `repr` would contain every sample."""
        return {"text/plain": str(self), "text/html": self._repr_html_()}

    def _repr_html_(self) -> str:
        # rich escapes what it exports, so text from data stays text.
        return self._print_to(io.StringIO()).export_html(inline_styles=True, code_format=PRE)

    def _print_to(self, file: io.StringIO) -> Console:
        """Print the result to `file`, and return the console, which has recorded it."""
        from boresight.core.console import NOTEBOOK_WIDTH, Terminal

        options: dict[str, Any] = {"width": NOTEBOOK_WIDTH, "force_terminal": False, "force_jupyter": False}
        console = Terminal(file=file, record=True, **options)
        self.show(console)
        return console
