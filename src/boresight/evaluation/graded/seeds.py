"""Combine systems that differ only in their training seed: intervals over seeds and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from boresight.core.wording import percent
from boresight.evaluation.graded.grading import GradedSystem
from boresight.evaluation.graded.metrics import GradedMetric
from boresight.stats.intervals import DIFFERENCE
from boresight.stats.over_seeds import OverSeeds, difference_over_seeds, over_seeds
from boresight.stats.units import unit_named


@dataclass(frozen=True)
class SeedGroup:
    """A metric of a group of systems that differ only in their training seed.

    Attributes:
        name: name of the group.
        against: name of the reference: a group, or a system that belongs to no group.
        mean: the metric over seeds and prompts.
        difference: difference from the reference; None for the reference itself.
    """

    name: str
    against: str
    metric: GradedMetric
    mean: OverSeeds
    difference: OverSeeds | None

    @property
    def sentence(self) -> str:
        """A sentence with the mean, the difference, and the share of the variance that is due to seeds."""
        unit = unit_named(self.metric.unit)
        said = (
            f"{self.name} over {self.mean.seeds} seeds: {self.metric.label} {unit.estimate(self.mean.mean)}"
        )
        found = self.mean
        if self.difference is not None:
            found = self.difference
            said += f", {unit.change(found.mean)} against {self.against}"
        return f"{said}; {percent(found.seed_share)} of the variance is between seeds."

    def as_dict(self) -> dict[str, Any]:
        """Return the group as a dictionary, as in `evaluation.json`."""
        return {"metric": self.metric.name, "against": self.against, "mean": asdict(self.mean)} | {
            "difference": None if self.difference is None else asdict(self.difference)
        }


def seed_groups(
    systems: Sequence[GradedSystem], seeds: Mapping[str, Sequence[str]], metric: GradedMetric
) -> list[SeedGroup]:
    """Compute a metric for every group in `seeds`, and its difference from the reference.

    The reference is the group that contains the first system, or the first system alone if no group does.
    """
    by_name = {system.name: system for system in systems}
    first = systems[0].name
    against = next((name for name, members in seeds.items() if first in members), first)
    reference = [by_name[member] for member in seeds.get(against, [first])]
    return [
        SeedGroup(
            name=name,
            against=against,
            metric=metric,
            mean=_mean(metric, [by_name[member] for member in members]),
            difference=(
                None if name == against else _difference(metric, reference, [by_name[m] for m in members])
            ),
        )
        for name, members in seeds.items()
    ]


def _mean(metric: GradedMetric, group: Sequence[GradedSystem]) -> OverSeeds:
    return over_seeds([metric.by_prompt(system) for system in group], bounds=metric.limits(*group))


def _difference(
    metric: GradedMetric, reference: Sequence[GradedSystem], group: Sequence[GradedSystem]
) -> OverSeeds:
    """Return the difference between two groups, paired by seed in the order of the recipe.

    A reference of a single system is compared with every seed.
    """
    before = [metric.by_prompt(system) for system in reference]
    after = [metric.by_prompt(system) for system in group]
    bounds = None if metric.limits(*reference, *group) is None else DIFFERENCE
    return difference_over_seeds(before * len(after) if len(before) == 1 else before, after, bounds=bounds)
