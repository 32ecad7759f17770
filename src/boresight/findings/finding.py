"""The result of a check: one problem, in two sentences and a link.

A check is a public function that takes the facts of its area and returns a `Finding` or None. Checks are not
registered: `run_checks` calls every such function of a module in the order of definition, causes before the
findings that they explain.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any, Literal, TypedDict, Unpack

Severity = Literal["error", "warning", "note"]
ORDER: dict[str, int] = {"error": 0, "warning": 1, "note": 2}
SHOWN_ROWS = 5
PAGE = "docs/check.md"
RENAMED = {
    "memorising": "memorizing",
    "over-optimisation": "over-optimization",
    "over-optimisation-ahead": "over-optimization-ahead",
    "not-learnt": "not-learned",
}
"""Names that findings had in earlier versions; run folders and recipes may hold them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem. `why` and `fix` are one sentence each; `rows` are the ids of the first few rows.

    `count` is how many rows, steps or parameters it concerns, 0 where counting makes no sense. `step` is set
    by the monitor. `numbers` are the evidence as numbers, for programs.
    """

    name: str
    severity: Severity
    why: str
    fix: str
    count: int = 0
    rows: tuple[str, ...] = ()
    step: int | None = None
    numbers: tuple[tuple[str, float], ...] = ()

    @property
    def link(self) -> str:
        """Link to the documentation of the finding."""
        return f"{PAGE}#{self.name}"

    def __str__(self) -> str:
        return f"{self.severity}: {self.name}: {self.why} {self.fix}"

    def as_dict(self) -> dict[str, Any]:
        """The finding as a dictionary, as in `findings.jsonl`."""
        return asdict(self) | {"numbers": dict(self.numbers), "link": self.link}


def from_dict(raw: dict[str, Any]) -> Finding:
    """Inverse of `Finding.as_dict`. Raises KeyError, TypeError or AttributeError for anything else."""
    known = {key: raw[key] for key in ("name", "severity", "why", "fix", "count", "step")}
    known["name"] = RENAMED.get(known["name"], known["name"])
    return Finding(**known, rows=tuple(raw["rows"]), numbers=tuple(raw["numbers"].items()))


class Evidence(TypedDict, total=False):
    """The optional fields of a `Finding`."""

    count: int
    rows: tuple[str, ...]
    step: int | None
    numbers: tuple[tuple[str, float], ...]


class Details(Evidence, total=False):
    """Optional fields of a `Finding`, or the `ids` of all its rows in place of `count` and `rows`."""

    ids: Sequence[str]


def error(name: str, why: str, fix: str, **more: Unpack[Details]) -> Finding:
    """A finding that stops a run, unless `check.allow` names it: the run cannot succeed."""
    return _make(name, "error", why, fix, **more)


def warning(name: str, why: str, fix: str, **more: Unpack[Details]) -> Finding:
    """A finding that makes results worse or harder to read."""
    return _make(name, "warning", why, fix, **more)


def note(name: str, why: str, fix: str, **more: Unpack[Details]) -> Finding:
    """A finding that is only information."""
    return _make(name, "note", why, fix, **more)


def graded(name: str, share: float, at: float, why: str, fix: str, **more: Unpack[Details]) -> Finding:
    """A finding about a share of rows: a warning, or an error if `share` is at least `at`."""
    return _make(name, "error" if share >= at else "warning", why, fix, **more)


def _make(
    name: str, severity: Severity, why: str, fix: str, *, ids: Sequence[str] = (), **more: Unpack[Evidence]
) -> Finding:
    if ids:
        more.setdefault("count", len(ids))
        more.setdefault("rows", tuple(ids[:SHOWN_ROWS]))
    return Finding(name, severity, why, fix, **more)


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first; within a severity, in the order they were found. A name appears once."""
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.name, finding)
    return sorted(first.values(), key=lambda finding: ORDER[finding.severity])


def checks_of(module: ModuleType) -> list[Callable[[Any], Finding | None]]:
    """The checks of a module: public functions written in it that are annotated `-> Finding | None`."""
    return [
        function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and function.__annotations__.get("return") == "Finding | None"
    ]


def run_checks(module: ModuleType, facts: object) -> list[Finding]:
    """The findings of all checks of a module for `facts`."""
    return [finding for check in checks_of(module) if (finding := check(facts)) is not None]
