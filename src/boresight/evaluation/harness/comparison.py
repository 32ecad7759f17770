"""Compare every metric of every task with that of the first system, paired by document.

The verdict on a task is based on its first metric, and p-values are adjusted by Holm's method over all tasks
and systems. For a difference that is not significant, the verdict contains the largest loss that lies within
its interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from boresight.core.errors import UserError
from boresight.evaluation.harness.documents import NO_FILTER, Document
from boresight.evaluation.win_rate import MOST_MISSING
from boresight.stats.intervals import DIFFERENCE, Interval, holm
from boresight.stats.over_seeds import difference_by_prompt, over_seeds
from boresight.stats.paired import Measured, paired_metric
from boresight.stats.units import unit_named
from boresight.stats.verdict import after_holm, verdict

Key = tuple[str, str, str]
"""Names of a task, a filter of the task, and a metric."""


@dataclass(frozen=True)
class TaskComparison:
    """Comparison of systems on tasks.

    Attributes:
        systems: the documents of each system, by the system's name; the first system is the reference.
    """

    systems: Mapping[str, Sequence[Document]]

    def __post_init__(self) -> None:
        """Raise a `UserError` if a document of a task is not the same for all systems."""
        seen: dict[tuple[str, int], tuple[str, str]] = {}
        for name, documents in self.systems.items():
            for one in documents:
                other, digest = seen.setdefault((one.task, one.id), (name, one.digest))
                if digest != one.digest:
                    raise UserError(
                        f"lm_eval: document {one.id:,} of {one.task} is another one for {name} than for "
                        f"{other}; evaluate them again in a new folder."
                    )

    @property
    def reference(self) -> str:
        """Name of the reference, the first system."""
        return next(iter(self.systems))

    @cached_property
    def keys(self) -> list[Key]:
        """Metrics that have a value per document, in the order of the tasks."""
        return list(
            dict.fromkeys(
                (d.task, d.filter, metric) for d in self.systems[self.reference] for metric in d.scores
            )
        )

    @cached_property
    def deciding(self) -> list[Key]:
        """The first metric of each task, which its verdict is based on."""
        return list({key[0]: key for key in reversed(self.keys)}.values())[::-1]

    @cached_property
    def measured(self) -> dict[str, list[Measured]]:
        """Every metric of each system by name, compared with the reference.

        The reference itself is not included, unless it is the only system; its metrics then have no
        comparison.
        """
        first, *others = self.systems
        if not others:
            return {first: [self._measured(key, None, first) for key in self.keys]}
        return {name: [self._measured(key, first, name) for key in self.keys] for name in others}

    @cached_property
    def verdicts(self) -> list[str]:
        """A sentence for each task and each system but the reference, after Holm's adjustment."""
        _, *others = self.systems
        pairs = [(name, key) for name in others for key in self.deciding]
        adjusted = holm([self._p(name, key) for name, key in pairs])
        return [
            self._verdict(name, key, p if len(pairs) > 1 else None)
            for (name, key), p in zip(pairs, adjusted, strict=True)
        ]

    @cached_property
    def notes(self) -> list[str]:
        """Sentences about documents without a score, and about metrics without a value per document."""
        lost = [
            f"{name}: {missing:,} of {len(values):,} documents of {label(key)} have no finite score."
            for name in self.systems
            for key in self.keys
            if (missing := sum(map(math.isnan, (values := self.values(name, key)).values())))
        ]
        others = dict.fromkeys(
            f"{d.task} {m}" for d in self.systems[self.reference] for m in d.not_by_document
        )
        by_corpus = (
            [f"Not compared, since they have no value per document: {', '.join(others)}."] if others else []
        )
        return [*lost, *by_corpus]

    def values(self, name: str, key: Key) -> dict[str, float]:
        """Return the values of a metric by document; NaN if a value is missing."""
        task, by_filter, metric = key
        return {
            f"{task} {d.id}": math.nan if (score := d.scores.get(metric)) is None else score
            for d in self.systems[name]
            if (d.task, d.filter) == (task, by_filter)
        }

    def unit(self, key: Key) -> str:
        """Return the unit of a metric: `share` if the values of all systems lie in [0, 1], else `score`."""
        values = [v for name in self.systems for v in self.values(name, key).values() if not math.isnan(v)]
        return "share" if all(0 <= value <= 1 for value in values) else "score"

    def better(self, key: Key) -> str:
        """Return `higher` or `lower`, the direction in which a metric improves."""
        documents = (d for d in self.systems[self.reference] if (d.task, d.filter) == key[:2])
        return "lower" if any(key[2] in d.lower for d in documents) else "higher"

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `evaluation.json`."""
        several = len(self.measured) > 1
        return {
            "metrics": [
                {**one.as_dict(), "name": f"{one.name}:{name}" if several else one.name}
                for name, measured in self.measured.items()
                for one in measured
            ],
            "verdicts": self.verdicts,
            "notes": self.notes,
        }

    def _measured(self, key: Key, before: str | None, after: str) -> Measured:
        given = {} if before is None else self.values(before, key)
        name = ":".join(part for part in key if part != NO_FILTER)
        return paired_metric(
            name, label(key), self.unit(key), self.better(key), given, self.values(after, key)
        )

    def _difference(self, name: str, key: Key) -> Interval | None:
        return self._measured(key, self.reference, name).difference

    def _p(self, name: str, key: Key) -> float:
        before, after = self.values(self.reference, key), self.values(name, key)
        if self._difference(name, key) is None:
            return 1.0
        bounds = DIFFERENCE if self.unit(key) == "share" else None
        return over_seeds([difference_by_prompt(before, after)], bounds=bounds).p

    def _verdict(self, name: str, key: Key, p: float | None) -> str:
        difference, reference = self._difference(name, key), self.reference
        if difference is None or difference.missing > MOST_MISSING * (difference.n + difference.missing):
            why = "no document has both" if difference is None else "of more than a tenth a score is missing"
            return f"{label(key)}: no verdict on {name} against {reference}: {why}."
        said = verdict(difference, reference, name, self.unit(key), self.better(key))
        sentence = said if p is None else after_holm(said, p, difference.excludes_zero)
        return f"{label(key)}: {sentence}{_possible_loss(difference, self.unit(key), self.better(key))}"


def label(key: Key) -> str:
    """Return a metric as text: the task, the metric, and its filter if there is one."""
    task, by_filter, metric = key
    return f"{task} {metric}" + ("" if by_filter == NO_FILTER else f" ({by_filter})")


def _possible_loss(difference: Interval, unit: str, better: str) -> str:
    """Return a sentence with the largest loss within the interval of `difference`.

    It is empty if the difference is significant or if the interval is infinite.
    """
    gain = difference if better == "higher" else difference.scaled(-1)
    if gain.excludes_zero or not math.isfinite(gain.low):
        return ""
    return f" A loss of up to {unit_named(unit).difference(gain.low)} cannot be ruled out."
