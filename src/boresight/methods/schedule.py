"""Settings that change during a run: piecewise-linear functions of the progress of the run.

In YAML a schedule is a list of `[progress, value]` points, so `alpha: [[0, 1e-5], [1, 0]]` decays linearly to
zero. Two points at the same progress make a jump.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, RootModel, model_validator

Progress = Annotated[float, Field(ge=0, le=1)]


class Schedule(RootModel[tuple[tuple[Progress, float], ...]]):
    """Points `(progress, value)` in order of progress, from 0 (first step) to 1 (end)."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> Schedule:
        places = [progress for progress, _ in self.root]
        if not places or places != sorted(places):
            raise ValueError("a schedule needs [progress, value] points in order of progress from 0 to 1")
        return self

    @property
    def values(self) -> tuple[float, ...]:
        """Values at the points; all other values of the schedule lie between their minimum and maximum."""
        return tuple(value for _, value in self.root)

    def at(self, progress: float) -> float:
        """Return the value at `progress`, interpolated linearly between the points.

        Before the first point and after the last one, the value is that of the point. At a jump it is the
        later value.
        """
        after = bisect_right([place for place, _ in self.root], progress)
        if after in (0, len(self.root)):
            return self.root[min(after, len(self.root) - 1)][1]
        (left, low), (right, high) = self.root[after - 1], self.root[after]
        return low + (high - low) * (progress - left) / (right - left)


def constant(setting: float | Schedule) -> float:
    """Return a setting, which must be a number, as a number: `Config.at` has replaced schedules.

    Raises:
        ValueError: the setting still is a schedule.
    """
    if isinstance(setting, Schedule):
        raise ValueError("this setting is a schedule; resolve it with config.at(progress) first")
    return setting


def span(setting: float | Schedule) -> tuple[float, float]:
    """Return the smallest and the largest value of the setting over the run."""
    values = setting.values if isinstance(setting, Schedule) else (setting,)
    return min(values), max(values)


def _positive(setting: float | Schedule) -> float | Schedule:
    if span(setting)[0] <= 0:
        raise ValueError("must be greater than 0 throughout the run")
    return setting


def _not_negative(setting: float | Schedule) -> float | Schedule:
    if span(setting)[0] < 0:
        raise ValueError("must not be negative at any point of the run")
    return setting


def _read_points(setting: object) -> object:
    """Convert a list to a `Schedule`, so that pydantic's error for a malformed list describes that form
    only."""
    return Schedule.model_validate(setting) if isinstance(setting, list | tuple) else setting


Positive = Annotated[float | Schedule, BeforeValidator(_read_points), AfterValidator(_positive)]
NonNegative = Annotated[float | Schedule, BeforeValidator(_read_points), AfterValidator(_not_negative)]
