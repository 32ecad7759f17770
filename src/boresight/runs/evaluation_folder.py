"""The folder of an evaluation.

config.yaml             the resolved recipe
environment.json        versions, machine, commit
answers-SYSTEM.jsonl    generated answers, which a continued evaluation reads instead of generating them again
problems-SYSTEM.jsonl   graded completions of Countdown problems, likewise
comparisons.jsonl       one line per prompt and pair of systems
evaluation.json         metrics
report.html             the page
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from boresight.core.files import write_jsonl, write_state
from boresight.runs.folder import RunFolder


class EvaluationFolder(RunFolder):
    """Files of one evaluation. JSON has no infinity and no NaN: a limit that is not known is null."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, noun="evaluation", section="systems")
        self.report = path / "report.html"

    def answers(self, system: str) -> Path:
        """File with the answers of a system."""
        return self.path / f"answers-{_file_name(system)}.jsonl"

    def problems(self, system: str) -> Path:
        """File with the graded completions of a system."""
        return self.path / f"problems-{_file_name(system)}.jsonl"

    def write_comparisons(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write one line per comparison."""
        write_jsonl(self.path / "comparisons.jsonl", map(_finite, lines))

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write metrics and whatever stands beside them."""
        write_state(self.path / "evaluation.json", _finite(results))


def _file_name(system: str) -> str:
    """The name, with percent signs for what a file name may not have: two systems never share a file."""
    return "".join(c if c.isalnum() or c in "-_." else quote(c, safe="") for c in system)


def _finite(value: Any) -> Any:
    """The value with None for infinity and NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value
