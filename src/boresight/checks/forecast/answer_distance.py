"""Who wrote the answers of pairs, under the start model: how likely they are beside its samples.

What a model samples at temperature 1 has, on average, minus its own entropy as log-probability per token.
Answers that another model wrote have less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boresight.checks.forecast.row_mean import RowMean

FOREIGN = 0.2
"""Nats per token below the model's own samples from which answers count as another model's."""


@dataclass(frozen=True, slots=True)
class AnswerDistance:
    """Log-probability per token under the start model, nats.

    `own`, `chosen` and `rejected` are levels over prompts; `chosen_below` and `rejected_below` say how far
    answers lie below the model's own samples to the same prompts.
    """

    own: RowMean
    chosen: RowMean
    rejected: RowMean
    chosen_below: RowMean
    rejected_below: RowMean

    @classmethod
    def of(
        cls, own: Mapping[str, float], chosen: Mapping[str, float], rejected: Mapping[str, float]
    ) -> AnswerDistance:
        """From log-probabilities per token by row; rows without samples of their own are skipped."""
        return cls(
            own=RowMean.of(own.values()),
            chosen=RowMean.of(chosen[id] for id in own),
            rejected=RowMean.of(rejected[id] for id in own),
            chosen_below=RowMean.of(value - chosen[id] for id, value in own.items()),
            rejected_below=RowMean.of(value - rejected[id] for id, value in own.items()),
        )

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> AnswerDistance:
        """What `dataclasses.asdict` made of it."""
        return cls(**{name: RowMean(**value) for name, value in kept.items()})

    @property
    def foreign(self) -> tuple[str, ...]:
        """Sides that another model wrote, beyond the interval: of `chosen` and `rejected`."""
        below = {"chosen": self.chosen_below, "rejected": self.rejected_below}
        return tuple(side for side, gap in below.items() if gap.mean - gap.half_width > FOREIGN)
