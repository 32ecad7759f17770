"""Every interval that the product prints contains the true value in at least 93 % of simulated studies.

Nominal coverage is 95 %; 2,000 studies estimate it to half a point. No interval is wider on average than 1.25
times the narrowest valid alternative. Valid means 93 % in every variant at this n and share: an interval
cannot know which variant it is given. `test_every_interval.py` checks that no interval is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from boresight.core.errors import UserError
from tests.stats import studies
from tests.stats.studies import STUDIES, Simulate, Variant
from tests.stats.test_every_interval import SCENARIOS

LEAST_COVERAGE = 0.93
WIDEST = 1.25
CELLS = [(n, share) for n in (10, 53, 64, 200, 400) for share in (0.005, 0.02, 0.1, 0.5, 0.95)]
SEED = 20
LEAST_SHOWN = 0.5
"""Share of studies in which an interval must be given for a cell to count: where most studies are refused,
those that are not have unusual data."""
REFUSED = {
    *(("length_controlled", 10, share) for share in (0.005, 0.02, 0.95)),
    *(("rankings", 10, share) for share in (0.005, 0.02)),
    *((name, n, 0.005) for name in ("length_controlled", "rankings") for n in (53, 64)),
}
"""Cells in which most studies are refused, since nearly all of their outcomes are the same: scenario, n and
share. In every other cell each interval is given."""

CHEAP = (studies.shares, studies.unpaired_shares, studies.means)
"""Simulated in every cell by `make test`; the others only in some, and in all of them by `make test-slow`."""
MIDDLE = (studies.ties, studies.grades, studies.paired_shares, studies.paired_outcomes)

FLOORS: dict[tuple[str, int, float], tuple[float, float]] = {
    # The exact coverage of "only adds" is .931; of 2,000 studies, these contain the truth in .921.
    ("paired_shares", 64, 0.1): (0.92, WIDEST),
    # Ten prompts, nine in ten tied: Student's t is a point where all are.
    ("ties", 10, 0.5): (LEAST_COVERAGE, 1.85),
    ("paired_outcomes", 10, 0.5): (LEAST_COVERAGE, 1.46),
}
"""Least coverage and greatest width where no method that we know of reaches both: scenario, n and share."""


def check(simulate: Simulate, n: int, share: float) -> list[str]:
    """What is wrong in a cell, in words; nothing where every variant keeps the promise."""
    rng = np.random.default_rng((SEED, n, round(1000 * share)))
    cell = simulate.__name__, n, share
    least, widest = FLOORS.get(cell, (LEAST_COVERAGE, WIDEST))
    variants, refused = list(simulate(rng, n, share)), cell in REFUSED
    wrong = [_unexpected(v) for v in variants if (v.ours.shown < LEAST_SHOWN * STUDIES) != refused]
    if refused or wrong:
        return wrong
    valid = {
        name
        for name in variants[0].others
        if all(v.others[name].coverage >= LEAST_COVERAGE for v in variants)
    }
    for v in variants:
        if v.ours.coverage < least:
            wrong.append(f"{v.name}: contains the truth in {v.ours.coverage:.3f}")
        narrowest = min((v.others[name].mean_width for name in valid), default=math.inf)
        if v.ours.mean_width > widest * narrowest:
            wrong.append(f"{v.name}: {v.ours.mean_width / narrowest:.2f} times as wide as one of {valid}")
    return wrong


def _unexpected(variant: Variant) -> str:
    shown = f"{variant.ours.shown} of {STUDIES}"
    return f"{variant.name}: given in {shown} studies; correct the interval, or REFUSED"


def _cells(quick: bool) -> Iterator[Any]:
    for simulate in SCENARIOS:
        for n, share in CELLS:
            if simulate is studies.means and share != 0.5:
                continue  # the share plays no part
            some = n in (10, 64) if simulate in MIDDLE else (n, share) in ((10, 0.02), (64, 0.5))
            if quick == (simulate in CHEAP or some):
                yield pytest.param(simulate, n, share, id=f"{simulate.__name__}-{n}-{share:g}")


@pytest.mark.parametrize(("simulate", "n", "share"), list(_cells(quick=True)))
def test_intervals_contain_the_truth_and_are_narrow(simulate, n, share):
    assert check(simulate, n, share) == []


@pytest.mark.slow
@pytest.mark.parametrize(("simulate", "n", "share"), list(_cells(quick=False)))
def test_intervals_contain_the_truth_and_are_narrow_in_every_cell(simulate, n, share):
    assert check(simulate, n, share) == []


def test_an_interval_that_is_never_given_does_not_pass(monkeypatch):
    def refuse(*given):
        raise UserError("There is nothing to average.")

    monkeypatch.setattr(studies, "length_controlled_win_rate", refuse)
    assert check(studies.length_controlled, 64, 0.5) == [
        f"{name}: given in 0 of 2000 studies; correct the interval, or REFUSED"
        for name in ("at equal length", "length effect")
    ]


def test_a_cell_that_is_not_refused_is_not_listed(monkeypatch):
    monkeypatch.setitem(globals(), "REFUSED", {("shares", 10, 0.5)})
    assert check(studies.shares, 10, 0.5) == [
        "solved or not: given in 2000 of 2000 studies; correct the interval, or REFUSED"
    ]
