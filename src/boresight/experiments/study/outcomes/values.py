"""Convert files of results to values by seed and prompt, for tests and intervals."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from boresight.experiments.study.blocks import JUDGED
from boresight.experiments.study.outcomes.file import OutcomeFile
from boresight.stats.intervals import SHARE, Bounds, Value
from boresight.stats.pooled_seeds import SeedValues

SAME_SCORE = 1e-4
"""Maximum difference of two scores of a judge that counts as a tie. Two reward models that were trained by
the same recipe, on Zen 5 and on Zen 3, score an answer equally within 6e-6. Scores of different answers
spread over a range of about 1."""


def seed_values(results: Sequence[OutcomeFile], metric: str) -> SeedValues:
    """Return the values of a metric by prompt for each seed, marked as untrained for a start model.

    Raises:
        UserError: a file does not have the metric.
    """
    trained = all(result.seed is not None for result in results)
    return SeedValues([result.values(metric) for result in results], trained)


def wins_over(start: OutcomeFile, results: Sequence[OutcomeFile]) -> SeedValues:
    """Return 1 for each seed and prompt where the judge scores an arm above the start model, 0 where below.

    A tie is 0.5. Scores that differ by less than `SAME_SCORE` are a tie, since one answer may have such
    scores on two processors.
    """
    before = start.values(JUDGED)
    return SeedValues([_wins(before, result.values(JUDGED)) for result in results], trained=True)


def _wins(before: Mapping[str, Value], after: Mapping[str, Value]) -> dict[str, Value]:
    """Compare scores prompt by prompt: 1, 0.5 or 0, or None if one of the two is missing."""
    return {
        id_: None
        if was is None or (now := after.get(id_)) is None
        else 0.5 + 0.5 * ((now > was + SAME_SCORE) - (now < was - SAME_SCORE))
        for id_, was in before.items()
    }


def topics_of(results: Sequence[OutcomeFile], metric: str) -> dict[str, Hashable] | None:
    """Return the topic of each prompt; None without topics, or for a metric with one number per run."""
    return None if metric in results[0].numbers else results[0].topics


def share_bounds(*arms: SeedValues) -> Bounds | None:
    """Return the bounds of a share if there are several prompts and all values are in [0, 1]; else None."""
    by_prompt = [values for arm in arms for values in arm.by_seed]
    single = all(len(values) == 1 for values in by_prompt)
    return SHARE if not single and are_shares(arms) else None


def are_shares(arms: Sequence[SeedValues]) -> bool:
    """Whether all values lie between 0 and 1."""
    known = (v for arm in arms for values in arm.by_seed for v in values.values() if v is not None)
    return all(0 <= value <= 1 for value in known)
