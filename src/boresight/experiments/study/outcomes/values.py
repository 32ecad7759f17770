"""Results of an arm as values by seed and prompt, ready for tests and intervals."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from boresight.experiments.study.blocks import JUDGED
from boresight.experiments.study.outcomes.file import OutcomeFile
from boresight.stats.intervals import SHARE, Bounds, Value
from boresight.stats.pooled_seeds import SeedValues

SAME_SCORE = 1e-4
"""Scores of a judge that differ by less count as a tie. A reward model trained by the same recipe on Zen 5
and on Zen 3 scores one answer within 6e-6; its scores of different answers spread over about 1."""


def seed_values(results: Sequence[OutcomeFile], metric: str) -> SeedValues:
    """Values by prompt, once per seed; a start model was not trained. Raises `UserError` without them."""
    trained = all(result.seed is not None for result in results)
    return SeedValues([result.values(metric) for result in results], trained)


def wins_over(start: OutcomeFile, results: Sequence[OutcomeFile]) -> SeedValues:
    """By seed and prompt, 1 where the judge scores an arm above the start model, 0 where below, 0.5 for a
    tie. Scores closer than `SAME_SCORE` are a tie: they may be those of one answer on two processors."""
    before = start.values(JUDGED)
    return SeedValues([_wins(before, result.values(JUDGED)) for result in results], trained=True)


def _wins(before: Mapping[str, Value], after: Mapping[str, Value]) -> dict[str, Value]:
    """The comparison prompt by prompt, missing where one of both has no score."""
    return {
        id_: None
        if was is None or (now := after.get(id_)) is None
        else 0.5 + 0.5 * ((now > was + SAME_SCORE) - (now < was - SAME_SCORE))
        for id_, was in before.items()
    }


def topics_of(results: Sequence[OutcomeFile], metric: str) -> dict[str, Hashable] | None:
    """Topic by prompt; None if the block has no topics, or for a metric with one number per run."""
    return None if metric in results[0].numbers else results[0].topics


def share_bounds(*arms: SeedValues) -> Bounds | None:
    """Bounds of shares if there are several prompts and all values lie between 0 and 1; else None."""
    by_prompt = [values for arm in arms for values in arm.by_seed]
    single = all(len(values) == 1 for values in by_prompt)
    return SHARE if not single and are_shares(arms) else None


def are_shares(arms: Sequence[SeedValues]) -> bool:
    """Whether all values lie between 0 and 1."""
    known = (v for arm in arms for values in arm.by_seed for v in values.values() if v is not None)
    return all(0 <= value <= 1 for value in known)
