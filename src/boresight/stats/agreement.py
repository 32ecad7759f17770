"""Agreement of two judges on the same items: raw, beyond chance, and the items on which they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from boresight.core.errors import UserError
from boresight.stats.intervals import Interval, clustered_share, grouped, share_interval


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges, raw and beyond chance; kappa is None if both gave one and the same label to
    all items."""

    accuracy: Interval
    kappa: float | None


def agreement(a: Sequence[Hashable | None], b: Sequence[Hashable | None]) -> Agreement:
    """Agreement of two judges' labels, item by item: share that agree and Cohen's kappa.

        kappa = (observed - chance) / (1 - chance), chance = Σ over labels of p_a(label) p_b(label)

    Cohen 1960. Items without a label (None) from either judge are missing.
    """
    if len(a) != len(b):
        raise ValueError(f"agreement needs one label of each judge per item, got {len(a)} and {len(b)}")
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not pairs:
        raise UserError(f"There is nothing to compare: all {len(a)} labels are missing.")
    same = share_interval([x == y for x, y in pairs])
    labels = {label for pair in pairs for label in pair}
    chance = (
        sum(sum(x == label for x, _ in pairs) * sum(y == label for _, y in pairs) for label in labels)
        / len(pairs) ** 2
    )
    kappa = None if chance == 1 else (same.value - chance) / (1 - chance)
    return Agreement(Interval(same.value, same.low, same.high, same.n, len(a) - len(pairs)), kappa)


@dataclass(frozen=True)
class PreferenceAgreement(Agreement):
    """Agreement on which of two answers is better, and counts of the items without agreement by type.

    `ties` are items that one of the two calls a tie, `contradictions` those on which they name different
    winners. `flips` are items whose winner changed with the order of the answers: they are not preferences,
    and `accuracy` excludes them.
    """

    ties: int
    contradictions: int
    flips: int


def preference_agreement(
    judge: Sequence[float | None], others: Sequence[float | None], flipped: Sequence[bool]
) -> PreferenceAgreement | None:
    """Agreement of a judge's preferences with others' (1: the first answer, 0.5: a tie, 0: the second).

    `flipped` marks the items whose winner, by the judge, changed with the order of the answers. Kappa counts
    every item in both orders of its answers. The order in the file is arbitrary; if the first answer is
    always the better one, labels are constant and kappa in the file's order is 0 for every judge.

    Returns:
        None if no item has both labels and a preference of the judge.
    """
    if not len(judge) == len(others) == len(flipped):
        raise ValueError(
            "preference_agreement needs two labels and a flag per item, "
            f"got {len(judge)}, {len(others)} and {len(flipped)}"
        )
    items = list(zip(judge, others, flipped, strict=True))
    opinions = [(x, y) for x, y, flip in items if not flip or x is None or y is None]
    pairs = [(x, y) for x, y in opinions if x is not None and y is not None]
    if not pairs:
        return None
    apart = [pair for pair in pairs if pair[0] != pair[1]]
    ties = sum(0.5 in pair for pair in apart)
    return PreferenceAgreement(
        accuracy=agreement(*zip(*opinions, strict=True)).accuracy,
        kappa=agreement(*map(_both_orders, zip(*pairs, strict=True))).kappa,
        ties=ties,
        contradictions=len(apart) - ties,
        flips=len(items) - len(opinions),
    )


def _both_orders(preferences: Sequence[float]) -> list[float]:
    return [*preferences, *(1 - preference for preference in preferences)]


@dataclass(frozen=True)
class RaterAgreement:
    """How often two raters of one comparison prefer the same answer.

    `accuracy` is the mean over comparisons with at least two raters, clustered by prompt; `comparisons`
    counts these. `alpha` is Krippendorff's, None where all verdicts are the same.
    """

    accuracy: Interval
    alpha: float | None
    comparisons: int


def rater_agreement(ratings: Sequence[Mapping[float, int]], prompts: Sequence[str]) -> RaterAgreement | None:
    """Agreement of any number of raters, from counts of raters by side of each comparison.

    Krippendorff's alpha of nominal data (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"):

        alpha = 1 - D_o / D_e
        D_o = 1/n Σ_u Σ_{c≠k} n_uc n_uk / (m_u - 1)      D_e = Σ_{c≠k} n_c n_k / (n (n - 1))

    with m_u ratings of comparison u, n of all. Like kappa above, it counts every comparison in both orders of
    its answers.

    Args:
        ratings: for each comparison, the number of raters by side: 1 the first answer, 0 the second, 0.5 a
            tie.
        prompts: prompt of each comparison; comparisons with one prompt are one unit of the interval.

    Returns:
        None where no comparison has two raters.
    """
    several = [(sides, prompt) for sides, prompt in zip(ratings, prompts, strict=True) if _size(sides) > 1]
    if not several:
        return None
    agreed = [1 - _apart(sides) / (_size(sides) * (_size(sides) - 1)) for sides, _ in several]
    both = [sides for first, _ in several for sides in (first, {1 - side: n for side, n in first.items()})]
    totals: Counter[float] = Counter()
    for sides in both:
        totals.update(sides)
    n = totals.total()
    observed = sum(_apart(sides) / (_size(sides) - 1) for sides in both) / n
    expected = _apart(totals) / (n * (n - 1))
    return RaterAgreement(
        accuracy=clustered_share(grouped(agreed, [prompt for _, prompt in several])),
        alpha=1 - observed / expected if expected else None,
        comparisons=len(several),
    )


def _size(sides: Mapping[float, int]) -> int:
    return sum(sides.values())


def _apart(sides: Mapping[float, int]) -> int:
    """Ordered pairs of ratings that differ."""
    return _size(sides) ** 2 - sum(count**2 for count in sides.values())
