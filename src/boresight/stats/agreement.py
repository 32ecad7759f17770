"""Measure the agreement of judges on the same comparisons: raw, beyond chance, and by type of difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from boresight.core.errors import UserError
from boresight.stats.intervals import Interval, clustered_share, grouped


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges, raw and beyond chance.

    `accuracy` is the share of comparisons on which they agree, clustered by prompt. `comparisons` is the
    number of comparisons with both labels. `kappa` is None if both judges gave all of them the same label.
    """

    accuracy: Interval
    kappa: float | None
    comparisons: int


def agreement(
    a: Sequence[Hashable | None], b: Sequence[Hashable | None], prompts: Sequence[str]
) -> Agreement:
    """Compute the agreement of two judges from their labels: the share that are equal, and Cohen's kappa.

        kappa = (observed - chance) / (1 - chance), chance = Σ over labels of p_a(label) p_b(label)

    Cohen 1960. Comparisons without a label (None) from either judge are missing.

    Args:
        prompts: prompt of each comparison; comparisons with one prompt are one unit of the interval.
    """
    if not len(a) == len(b) == len(prompts):
        raise ValueError(
            "agreement needs one label of each judge and a prompt per comparison, "
            f"got {len(a)}, {len(b)} and {len(prompts)}"
        )
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not pairs:
        raise UserError(f"There is nothing to compare: all {len(a)} labels are missing.")
    same = [None if x is None or y is None else x == y for x, y in zip(a, b, strict=True)]
    return Agreement(clustered_share(grouped(same, prompts)), _kappa(pairs), len(pairs))


def _kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    observed = sum(x == y for x, y in pairs) / len(pairs)
    ours, theirs = (Counter(labels) for labels in zip(*pairs, strict=True))
    chance = sum(ours[label] * theirs[label] for label in ours) / len(pairs) ** 2
    return None if chance == 1 else (observed - chance) / (1 - chance)


@dataclass(frozen=True)
class PreferenceAgreement(Agreement):
    """Agreement on which of two answers is better, and the number of comparisons without agreement by type.

    `ties` is the number of comparisons that only one of the two calls a tie, `contradictions` that of
    comparisons with different winners, and `flips` that of comparisons whose winner changed with the order of
    the answers. These are no preferences, and `accuracy` excludes them.
    """

    ties: int
    contradictions: int
    flips: int


def preference_agreement(
    judge: Sequence[float | None],
    others: Sequence[float | None],
    flipped: Sequence[bool],
    prompts: Sequence[str],
) -> PreferenceAgreement | None:
    """Compute the agreement of a judge's preferences with those of others, such as human raters.

    A preference is 1 for the first answer, 0.5 for a tie, 0 for the second, None if it is missing. Kappa
    counts every comparison in both orders of its answers, since their order in the file is arbitrary: if the
    first answer is always the better one, labels are constant, and kappa in the file's order is 0 for every
    judge.

    Args:
        flipped: whether the judge's winner of a comparison changed with the order of the answers.
        prompts: prompt of each comparison; comparisons with one prompt are one unit of the interval.

    Returns:
        None if no comparison has both labels and a preference of the judge.
    """
    given = judge, others, flipped, prompts
    if len(set(map(len, given))) > 1:
        sizes = ", ".join(str(len(values)) for values in given)
        raise ValueError(f"preference_agreement needs two labels, a flag and a prompt each, got {sizes}")
    items = list(zip(*given, strict=True))
    opinions = [(x, y, prompt) for x, y, flip, prompt in items if not flip or x is None or y is None]
    pairs = [(x, y) for x, y, _ in opinions if x is not None and y is not None]
    if not pairs:
        return None
    apart = [pair for pair in pairs if pair[0] != pair[1]]
    ties = sum(0.5 in pair for pair in apart)
    found = agreement(*zip(*opinions, strict=True))
    return PreferenceAgreement(
        accuracy=found.accuracy,
        kappa=_kappa([*pairs, *((1 - x, 1 - y) for x, y in pairs)]),
        comparisons=found.comparisons,
        ties=ties,
        contradictions=len(apart) - ties,
        flips=len(items) - len(opinions),
    )


@dataclass(frozen=True)
class RaterAgreement:
    """Agreement of the raters of a comparison: how often two of them prefer the same answer.

    `accuracy` is the mean over comparisons with at least two raters, clustered by prompt, and `comparisons`
    is their number. `alpha` is Krippendorff's alpha, None if all ratings are the same.
    """

    accuracy: Interval
    alpha: float | None
    comparisons: int


def rater_agreement(ratings: Sequence[Mapping[float, int]], prompts: Sequence[str]) -> RaterAgreement | None:
    """Compute the agreement of any number of raters, from the number of raters for each answer.

    Krippendorff's alpha of nominal data (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"):

        alpha = 1 - D_o / D_e
        D_o = 1/n Σ_u Σ_{c≠k} n_uc n_uk / (m_u - 1)      D_e = Σ_{c≠k} n_c n_k / (n (n - 1))

    with m_u ratings of comparison u, n of all comparisons, and n_c ratings with the value c. Every comparison
    counts in both orders of its answers, as for kappa in `preference_agreement`.

    Args:
        ratings: for each comparison, the number of raters by preference: 1 is the first answer, 0 the second,
            0.5 a tie.
        prompts: prompt of each comparison; comparisons with one prompt are one unit of the interval.

    Returns:
        None if no comparison has two raters.
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
    """Return the number of ordered pairs of ratings that differ."""
    return _size(sides) ** 2 - sum(count**2 for count in sides.values())
