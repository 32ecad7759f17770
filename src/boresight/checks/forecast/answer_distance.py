"""Compare the likelihood of the answers of pairs under the start model with that of its own samples.

The mean log-probability per token of a model's samples at temperature 1 is the negative entropy of the model.
Answers by another model have a lower one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boresight.checks.forecast.row_mean import RowMean

FOREIGN = 0.2
"""Difference in log-probability, nats per token, from which answers count as another model's: the model's own
samples minus the answers."""


@dataclass(frozen=True, slots=True)
class AnswerDistance:
    """Log-probabilities per token under the start model, in nats.

    `own` (the model's own samples), `chosen` and `rejected` are means over prompts. `chosen_below` and
    `rejected_below` are the mean differences, paired by prompt: own samples minus answers.
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
        """Build from log-probabilities per token, keyed by row id.

        Rows without the model's own samples are skipped.
        """
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
        """Sides of the pairs (`chosen`, `rejected`) whose answers count as another model's (`FOREIGN`).

        The lower limit of the 95 % interval of the difference must exceed `FOREIGN`.
        """
        below = {"chosen": self.chosen_below, "rejected": self.rejected_below}
        return tuple(side for side, gap in below.items() if gap.mean - gap.half_width > FOREIGN)
