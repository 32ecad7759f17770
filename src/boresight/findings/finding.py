"""The result of a check: one problem, described by two sentences and a link.

A check is a public function that takes the facts of its area and returns a `Finding` or None. Checks are not
registered: `run_checks` calls every such function of a module in the order of definition. Checks for causes
are defined before checks for the problems that they explain.
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
"""Current name of a finding by its name in earlier versions, which run folders and recipes may contain."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem. `why` and `fix` are one sentence each; `rows` are the ids of the first few rows concerned.

    `count` is the number of rows, steps or parameters concerned, 0 if counting makes no sense. `step` is set
    by the monitor. `numbers` are the evidence as `(name, value)`, for programs.
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
        """Return the finding as a dictionary, as in `findings.jsonl`."""
        return asdict(self) | {"numbers": dict(self.numbers), "link": self.link}


def from_dict(raw: dict[str, Any]) -> Finding:
    """Convert a dictionary of `Finding.as_dict` to a finding.

    Raises:
        KeyError, TypeError, AttributeError: `raw` is no such dictionary.
    """
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
    """The optional fields of a `Finding`, or `ids`, those of all its rows, in place of `count` and `rows`."""

    ids: Sequence[str]


def error(name: str, why: str, fix: str, **more: Unpack[Details]) -> Finding:
    """Create a finding that stops a run, which cannot succeed, unless `check.allow` names the finding."""
    return _make(name, "error", why, fix, **more)


def warning(name: str, why: str, fix: str, **more: Unpack[Details]) -> Finding:
    """Create a finding about a problem that makes results worse or harder to interpret."""
    return _make(name, "warning", why, fix, **more)


def note(name: str, why: str, fix: str, **more: Unpack[Details]) -> Finding:
    """Create a finding that is only information."""
    return _make(name, "note", why, fix, **more)


def graded(name: str, share: float, at: float, why: str, fix: str, **more: Unpack[Details]) -> Finding:
    """Create a finding about a share of rows: an error if `share` is at least `at`, else a warning."""
    return _make(name, "error" if share >= at else "warning", why, fix, **more)


def _make(
    name: str, severity: Severity, why: str, fix: str, *, ids: Sequence[str] = (), **more: Unpack[Evidence]
) -> Finding:
    if ids:
        more.setdefault("count", len(ids))
        more.setdefault("rows", tuple(ids[:SHOWN_ROWS]))
    return Finding(name, severity, why, fix, **more)


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings by severity, errors first, and keep only the first one of each name."""
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.name, finding)
    return sorted(first.values(), key=lambda finding: ORDER[finding.severity])


def checks_of(module: ModuleType) -> list[Callable[[Any], Finding | None]]:
    """Return the checks of a module: its own public functions that are annotated `-> Finding | None`."""
    return [
        function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and function.__annotations__.get("return") == "Finding | None"
    ]


def run_checks(module: ModuleType, facts: object) -> list[Finding]:
    """Call all checks of a module with `facts` and return their findings."""
    return [finding for check in checks_of(module) if (finding := check(facts)) is not None]
