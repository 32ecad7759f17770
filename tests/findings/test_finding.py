"""Findings as values: what they hold, their order and how shares are written."""

from __future__ import annotations

from types import ModuleType

from boresight.findings.finding import (
    Finding,
    checks_of,
    error,
    from_dict,
    graded,
    note,
    ranked,
    run_checks,
    warning,
)


def test_severities():
    assert [make("n", "w", "f").severity for make in (error, warning, note)] == ["error", "warning", "note"]
    assert [graded("n", share, 0.5, "w", "f").severity for share in (0.49, 0.5)] == ["warning", "error"]


def test_ids_become_a_count_and_the_first_five_rows():
    found = error("n", "w", "f", ids=[f"r{i}" for i in range(7)])
    assert (found.count, found.rows) == (7, ("r0", "r1", "r2", "r3", "r4"))
    assert error("n", "w", "f", ids=["a"], count=3).count == 3
    assert (note("n", "w", "f").count, note("n", "w", "f").rows) == (0, ())


def test_a_finding_survives_its_file():
    found = Finding("name", "note", "why", "fix", 2, ("a", "b"), 7, (("share", 0.5),))
    raw = found.as_dict()
    assert raw["link"] == "docs/check.md#name" and raw["numbers"] == {"share": 0.5}
    assert from_dict(raw) == found
    assert str(found) == "note: name: why fix"


def test_errors_come_first_and_a_name_once():
    found = [
        note("a", "1", ""),
        warning("b", "2", ""),
        error("c", "3", ""),
        error("b", "4", ""),
        warning("d", "5", ""),
    ]
    assert [f.why for f in ranked(found)] == ["3", "2", "5", "1"]


def test_checks_are_the_public_functions_that_return_a_finding_or_none():
    def hit(x) -> Finding | None:
        return error("hit", str(x), "")

    def miss(x) -> Finding | None:
        return None

    def _hidden(x) -> Finding | None:
        return error("hidden", "", "")

    def other(x) -> int:
        return 1

    area = ModuleType("area")
    for function in (hit, miss, _hidden, other):
        function.__module__ = "area"
        setattr(area, function.__name__, function)
    area.imported = lambda x: None
    assert [check.__name__ for check in checks_of(area)] == ["hit", "miss"]
    assert [f.why for f in run_checks(area, 5)] == ["5"]
