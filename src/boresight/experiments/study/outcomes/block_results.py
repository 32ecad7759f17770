"""Compute the results of a block from its files: means, differences from the start model, costs of each arm.

Intervals cluster prompts by topic and pool the variance between seeds over the arms of a group of the plan.
If no arm of a group has results of two seeds yet, intervals cover the variation between prompts only, and
`prompts_only` is True.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from boresight.config.reward import short_names
from boresight.experiments.study.blocks import AREA, MARGIN, REWARD, START, WINS, Block
from boresight.experiments.study.outcomes.collection import Outcomes
from boresight.experiments.study.outcomes.file import OutcomeFile
from boresight.experiments.study.outcomes.values import (
    are_shares,
    seed_values,
    share_bounds,
    topics_of,
    wins_over,
)
from boresight.stats.intervals import Interval
from boresight.stats.pooled_seeds import SeedValues, Topics, pooled_difference, pooled_mean


@dataclass(frozen=True)
class ArmResult:
    """Results of one arm of a block, or of its start model, from the files of results that exist."""

    arm: str
    group: str
    """Name of the arm's group, over which the variance between seeds is pooled; empty for the start model."""
    planned: int
    """Number of seeds in the plan, 1 for the start model."""
    files: Sequence[OutcomeFile]
    missing: Sequence[str]
    """Seeds without results, as text; `start` for a start model without results."""
    means: Mapping[str, Interval]
    """Mean by metric, for the metrics that were measured."""
    differences: Mapping[str, Interval]
    """Differences from the start model, by metric; empty for the start model itself, and if it has no
    results."""
    prompts_only: bool
    """Whether the intervals cover only the variation between prompts, not that between seeds."""
    stopped: Mapping[str, str] = field(default_factory=dict)
    """Reason why the guard stopped a run, by the run's seed; these seeds are among `missing`."""

    def number(self, name: str) -> float | None:
        """Return the mean of a number over the runs that recorded it; None if no run did."""
        found = [file.numbers[name] for file in self.files if name in file.numbers]
        return math.fsum(found) / len(found) if found else None

    def total(self, name: str) -> float:
        """Return the sum of a number over all runs; a run that did not record it counts as 0."""
        return math.fsum(file.numbers.get(name, 0.0) for file in self.files)


@dataclass(frozen=True)
class BlockResults:
    """Results of a block: its start model, and its arms sorted by group."""

    name: str
    block: Block
    metrics: list[str]
    """Names of metrics: the reward, its parts that differ from it, and the win rate under a judge."""
    shares: frozenset[str]
    """Names of metrics whose values all lie between 0 and 1; the area can be one of them."""
    start: ArmResult
    arms: list[ArmResult]

    @property
    def lines(self) -> list[ArmResult]:
        """The results of the start model, then those of the arms."""
        return [self.start, *self.arms]

    @property
    def prompts(self) -> int:
        """Number of test prompts, 0 if nothing has been measured yet."""
        return next((len(file.prompts) for arm in self.lines for file in arm.files), 0)

    @property
    def topics(self) -> int:
        """Number of topics of the test prompts, 0 if the block has no topics."""
        found = next((file.topics for arm in self.lines for file in arm.files), None)
        return len(set(found.values())) if found else 0


def block_results(results: Outcomes, name: str) -> BlockResults:
    """Compute the results of a block. Raises `UserError` if a file is torn, or lacks a metric or a topic."""
    block, groups = results.plan.blocks[name], list(results.plan.groups)
    names = sorted(results.arms(name), key=lambda arm: groups.index(results.plan.arms[arm].group))
    files = {arm: results.results(name, arm) for arm in (START, *names)}
    metrics = _metrics(block)
    values = {metric: _values(files, metric) for metric in (*metrics, AREA)}
    if block.judge is not None and files[START]:
        won = {arm: wins_over(files[START][0], files[arm]) for arm in names if files[arm]}
        metrics, values = [*metrics, WINS], values | {WINS: won}
    arms = [_arm(results, name, arm, files, values) for arm in (START, *names)]
    shares = frozenset(m for m, by_arm in values.items() if by_arm and are_shares(list(by_arm.values())))
    return BlockResults(name, block, metrics, shares, arms[0], arms[1:])


def _metrics(block: Block) -> list[str]:
    """Return the metrics of a block: the reward and its parts, without a part that alone is the reward."""
    if block.pairs is not None:
        return [REWARD, MARGIN]
    parts = short_names([config.name for config in block.reward])
    alone = sum(config.weight != 0 for config in block.reward) == 1
    paid = dict(zip(parts, (config.weight != 0 for config in block.reward), strict=True))
    return [REWARD, *(part for part in parts if part != REWARD and not (alone and paid[part]))]


def _values(files: Mapping[str, Sequence[OutcomeFile]], metric: str) -> dict[str, SeedValues]:
    """Return the values of a metric by arm, without arms that have none.

    For the area, only runs that recorded it count.
    """
    having = {arm: [f for f in found if metric != AREA or AREA in f.numbers] for arm, found in files.items()}
    return {arm: seed_values(found, metric) for arm, found in having.items() if found}


def _arm(
    results: Outcomes,
    block: str,
    arm: str,
    files: Mapping[str, Sequence[OutcomeFile]],
    values: Mapping[str, Mapping[str, SeedValues]],
) -> ArmResult:
    """Compute the results of one arm; metrics without results have no interval."""
    group = "" if arm == START else results.plan.arms[arm].group
    same = [other for other in results.arms(block) if results.plan.arms[other].group == group]
    prompts_only = not any(len(files[other]) > 1 for other in same)
    means, differences = {}, {}
    for metric, by_arm in values.items():
        if arm not in by_arm:
            continue
        own = SeedValues(by_arm[arm].by_seed, trained=not prompts_only)
        pool = [by_arm[other] for other in same if other in by_arm]
        topics = None if metric == AREA else topics_of(files[arm], metric)
        means[metric] = pooled_mean(own, pool, topics, bounds=share_bounds(own))
        if arm != START and START in by_arm:
            differences[metric] = _against(by_arm[START], own, pool, topics)
    paths = dict(zip(_runs(results, arm), results.paths(block, arm), strict=True))
    missing = [run for run, path in paths.items() if not path.exists()]
    stops = results.stops(block, arm)
    stopped = {run: stops[path].rstrip(".") for run, path in paths.items() if path in stops}
    return ArmResult(arm, group, len(paths), files[arm], missing, means, differences, prompts_only, stopped)


def _against(
    start: SeedValues, own: SeedValues, pool: Sequence[SeedValues], topics: Topics | None
) -> Interval:
    """Return the interval of an arm's values minus those of the start model."""
    return pooled_difference(start, own, pool, topics, bounds=share_bounds(start, own)).mean


def _runs(results: Outcomes, arm: str) -> list[str]:
    return [START] if arm == START else [str(seed) for seed in results.plan.arms[arm].seeds]
