"""Check labels: whether they contradict the scores or each other, or carry no information."""

from __future__ import annotations

from boresight.checks.data.examples import FEWEST, Examples, said
from boresight.core.wording import percent
from boresight.findings.finding import Finding, error, graded, warning
from boresight.stats.intervals import Interval, clopper_pearson

LEAST_NOISE = 0.01
"""Minimum share of contradicted labels for the finding `labels-noisy`; the lower limit of the 95 % interval
must reach it."""


def identical_pairs(data: Examples) -> Finding | None:
    """Return the finding `identical-pairs` if any pair has the same answer on both sides, else None."""
    ids = [p.id for p, (a, b) in zip(data.pairs, data.answers, strict=True) if a.split() == b.split()]
    if not ids:
        return None
    share = len(ids) / len(data.pairs)
    return graded(
        "identical-pairs",
        share,
        0.2,
        f"{len(ids):,} of {len(data.pairs):,} pairs ({percent(share)}) have the same answer on both sides; "
        "their margin is 0 whatever the model does.",
        "Remove these pairs.",
        ids=ids,
    )


def labels_swapped(data: Examples) -> Finding | None:
    """Return the finding `labels-swapped` if the scores contradict most labels, else None.

    Most are at least 75 % of the pairs with different scores.
    """
    ids, share = _inverted(data)
    if share is None or share.value < 0.75:
        return None
    return error(
        "labels-swapped",
        f"In {_of_scored(share)} the rejected answer has the higher score, so training would prefer the "
        "worse answer.",
        "Swap chosen and rejected, or negate a score where lower is better.",
        ids=ids,
    )


def labels_random(data: Examples) -> Finding | None:
    """Return the finding `labels-random` if the scores contradict about half of the labels, else None."""
    ids, share = _inverted(data)
    if share is None or not _is_coin_toss(share):
        return None
    return error(
        "labels-random",
        f"In {_of_scored(share)} the rejected answer has the higher score: the labels are random, and "
        "accuracy stays at one half.",
        "Build chosen and rejected from the scores.",
        ids=ids,
    )


def labels_noisy(data: Examples) -> Finding | None:
    """Return the finding `labels-noisy` if the scores contradict some of the labels, else None."""
    ids, share = _inverted(data)
    if share is None or share.value >= 0.75 or _is_coin_toss(share) or share.low < LEAST_NOISE:
        return None
    return warning(
        "labels-noisy",
        f"In {_of_scored(share)} the rejected answer has the higher score; that caps held-out accuracy at "
        f"about {percent(1 - share.value)}.",
        "Swap or remove these pairs, or set method.label_smoothing to their share.",
        ids=ids,
    )


def conflicting_labels(data: Examples) -> Finding | None:
    """Return the finding `conflicting-labels` if two rows label the same answers differently, else None.

    Two pairs conflict if each prefers the answer that the other one rejects, for the same prompt. Two labeled
    answers conflict if the same answer to the same prompt is good in one row and bad in another.
    """
    return _labeled_both_ways(data) if data.labeled else _preferred_both_ways(data)


def _labeled_both_ways(data: Examples) -> Finding | None:
    labels: dict[tuple[str, str], set[bool]] = {}
    for example in data.labeled:
        labels.setdefault((said(example.prompt), said(example.completion)), set()).add(example.label)
    ids = [e.id for e in data.labeled if len(labels[said(e.prompt), said(e.completion)]) > 1]
    if not ids:
        return None
    share = len(ids) / len(data.labeled)
    return graded(
        "conflicting-labels",
        share,
        0.2,
        f"{len(ids):,} of {len(data.labeled):,} labeled answers ({percent(share)}) carry the other label in "
        "another row, so the two cancel.",
        "Keep one of each, by majority.",
        ids=ids,
    )


def _preferred_both_ways(data: Examples) -> Finding | None:
    seen: dict[tuple[str, str, str], str] = {}
    ids = []
    for pair, (chosen, rejected) in zip(data.pairs, data.answers, strict=True):
        prompt = said(pair.prompt)
        if chosen != rejected and (prompt, rejected, chosen) in seen:
            ids += [pair.id]
        seen[prompt, chosen, rejected] = pair.id
    if not ids:
        return None
    share = len(ids) / len(data.pairs)
    return graded(
        "conflicting-labels",
        share,
        0.1,
        f"{len(ids):,} of {len(data.pairs):,} pairs ({percent(share)}) state the opposite of another pair "
        "with the same prompt and answers, so the two cancel.",
        "Keep one of each, by majority or by score.",
        ids=ids,
    )


def equal_scores(data: Examples) -> Finding | None:
    """Return the finding `equal-scores` if at least 1 % of the scored pairs have equal scores, else None."""
    ids = [p.id for p in data.scored if p.chosen_score == p.rejected_score]
    share = len(ids) / max(1, len(data.scored))
    if share < 0.01 or len(data.scored) < FEWEST:
        return None
    return graded(
        "equal-scores",
        share,
        0.5,
        f"{len(ids):,} of {len(data.scored):,} scored pairs ({percent(share)}) have equal scores, so their "
        "label is arbitrary.",
        "Remove them.",
        ids=ids,
    )


def _inverted(data: Examples) -> tuple[list[str], Interval | None]:
    """Return the ids of the pairs whose rejected answer has the higher score, and the share of such pairs.

    The share is of the pairs with different scores; None, without ids, if there are fewer than `FEWEST`.
    """
    apart = [p for p in data.scored if p.chosen_score != p.rejected_score]
    if len(apart) < FEWEST:
        return [], None
    ids = [p.id for p in apart if (p.chosen_score or 0.0) < (p.rejected_score or 0.0)]
    return ids, Interval(len(ids) / len(apart), *clopper_pearson(len(ids), len(apart)), len(apart))


def _is_coin_toss(share: Interval) -> bool:
    return 0.35 <= share.value < 0.75 and share.low >= 0.25


def _of_scored(share: Interval) -> str:
    return f"{percent(share.value)} of {share.n:,} pairs with different scores"
