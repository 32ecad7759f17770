"""Result of an evaluation that compares systems by their metrics; the first system is the reference."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from boresight.core.printable import Printable
from boresight.reports.tables.terminal import reward_table
from boresight.stats.paired import Measured

if TYPE_CHECKING:
    from rich.console import Console


class MeasuredSystems(Protocol):
    """Comparison of systems, such as `RewardComparison` or `TaskComparison`."""

    @property
    def measured(self) -> Mapping[str, list[Measured]]: ...
    @property
    def verdicts(self) -> Sequence[str]: ...


C = TypeVar("C", bound=MeasuredSystems)


@dataclass(frozen=True)
class EvaluationAgainstReference(Printable, Generic[C]):
    """Metrics, verdicts and page of an evaluation whose first system is the reference."""

    folder: Path
    found: C

    @property
    @abstractmethod
    def reference(self) -> str:
        """Name of the first system."""

    @property
    @abstractmethod
    def sentences(self) -> Sequence[str]:
        """Sentences printed below the tables: the verdicts, and warnings if there are any."""

    @property
    def metrics(self) -> dict[str, list[Measured]]:
        """Metrics of every system but the reference, compared with the reference, by name of the system.

        If there is only one system, these are its own metrics.
        """
        return dict(self.found.measured)

    @property
    def verdicts(self) -> list[str]:
        """One sentence per comparison with the reference."""
        return list(self.found.verdicts)

    @property
    def page(self) -> Path:
        """Path of the report."""
        return self.folder / "report.html"

    def show(self, console: Console) -> None:
        """Print a table for every system, the sentences, and the path of the report."""
        for name, measured in self.metrics.items():
            console.print(reward_table(measured, name, None if name == self.reference else self.reference))
        for sentence in [*self.sentences, f"report: {self.page}"]:
            console.print(sentence, markup=False, highlight=False)
