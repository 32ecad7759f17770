"""How likely the answers of pairs are under the start model, compared with its own samples.

The mean log-probability per token of a model's samples at temperature 1 is minus its entropy. Answers by
another model have a lower one.
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

    `own`, `chosen` and `rejected` are means over prompts; `chosen_below` and `rejected_below` are
    differences, paired by prompt: the model's own samples minus the answers.
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
        """Build from log-probabilities per token by row id; rows without the model's own samples are
        skipped."""
        return cls(
            own=RowMean.of(own.values()),
            chosen=RowMean.of(chosen[id] for id in own),
            rejected=RowMean.of(rejected[id] for id in own),
            chosen_below=RowMean.of(value - chosen[id] for id, value in own.items()),
            rejected_below=RowMean.of(value - rejected[id] for id, value in own.items()),
        )

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> AnswerDistance:
        """Inverse of `dataclasses.asdict`."""
        return cls(**{name: RowMean(**value) for name, value in kept.items()})

    @property
    def foreign(self) -> tuple[str, ...]:
        """Sides of the pairs (`chosen`, `rejected`) that are significantly less likely than the model's
        own samples."""
        below = {"chosen": self.chosen_below, "rejected": self.rejected_below}
        return tuple(side for side, gap in below.items() if gap.mean - gap.half_width > FOREIGN)
