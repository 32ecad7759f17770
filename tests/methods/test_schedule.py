"""Settings that change over a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from boresight.methods.base import MethodConfig
from boresight.methods.schedule import NonNegative, Positive, Schedule, constant, span


class Config(MethodConfig):
    """Two settings that may move."""

    alpha: NonNegative = 0.5
    """One."""

    beta: Positive = 2.0
    """Another."""


@pytest.mark.parametrize(
    ("progress", "value"),
    [(0.0, 1.0), (0.2, 1.0), (0.3, 2.0), (0.4, 3.0), (0.7, 0.0), (0.99, 0.0), (1.0, 0.0)],
)
def test_linear_between_points_and_flat_outside(progress, value):
    """Flat to 0.2, up from 1 to 3 at 0.4, a jump to 0 at 0.7."""
    schedule = Schedule([(0.2, 1.0), (0.4, 3.0), (0.7, 3.0), (0.7, 0.0)])
    assert schedule.at(progress) == pytest.approx(value)


def test_config_resolves_every_schedule_and_keeps_the_rest():
    cfg = Config(alpha=[[0, 1.0], [1, 0.0]], beta=3)
    now = cfg.at(0.25)
    assert (constant(now.alpha), constant(now.beta)) == (0.75, 3.0)
    assert now.at(0.9) is now


def test_numbers_in_scientific_notation_may_come_as_text():
    """PyYAML reads `1e-5` as a string."""
    assert Config(alpha="1e-5").alpha == 1e-5
    assert Config(alpha=[[0, "1e-5"], [1, 0]]).at(0).alpha == 1e-5


def test_survives_a_round_trip():
    cfg = Config(alpha=[[0, 1e-5], [1, 0]])
    assert Config.model_validate(cfg.model_dump(mode="json")) == cfg


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"alpha": []}, "in order of progress"),
        ({"alpha": [[0.5, 1], [0.2, 1]]}, "in order of progress"),
        ({"alpha": [[0, 1], [1.5, 1]]}, "less than or equal to 1"),
        ({"alpha": [[0, 1], [1, -1]]}, "must not be negative"),
        ({"alpha": -1}, "must not be negative"),
        ({"beta": [[0, 1], [1, 0]]}, "greater than 0"),
        ({"beta": 0}, "greater than 0"),
        ({"alpha": float("inf")}, "finite"),
        ({"alpha": [[0, float("nan")]]}, "finite"),
    ],
)
def test_nonsense_is_refused(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        Config(**settings)


def test_an_unresolved_schedule_is_an_error():
    with pytest.raises(ValueError, match="resolve it"):
        constant(Config(alpha=[[0, 1], [1, 0]]).alpha)


@given(
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(-10, 10)), min_size=1, max_size=6),
    progress=st.floats(0, 1),
)
def test_never_leaves_the_range_of_its_points(points, progress):
    schedule = Schedule(tuple(sorted(points)))
    low, high = span(schedule)
    assert low - 1e-9 <= schedule.at(progress) <= high + 1e-9


def test_a_schedule_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        Schedule([(0.0, 1.0), (1.0, 2.0)]).root = ()
