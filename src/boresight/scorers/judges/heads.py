"""Combine the outputs of a reward model with several outputs to one score, by weights from the recipe.

    weights: {helpfulness: 0.65, correctness: 0.8, verbosity: -0.4}

The score is Σ weight · output, as HelpSteer2 and ArmoRM combine their attributes. Outputs without a weight
are ignored. Outputs are not normalized, since those of a model have different scales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.scorers.judges.base import Score

SHOWN = 20
"""Maximum number of labels that an error lists."""


@dataclass(frozen=True)
class Heads:
    """Labels of a model's outputs, in order, and weights by label.

    Without weights, the model has one output, which is the score. Without labels, the number of outputs is
    not yet known.
    """

    labels: tuple[str, ...] = ()
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        """Check the labels and the weights.

        Raises:
            UserError: two outputs have the same label, there are several outputs without weights, a weight
                has an unknown label, or all weights are 0.
        """
        twice = next((name for name in self.labels if self.labels.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"judge.weights: two outputs are called {twice!r}; give each its own label.")
        if not self.weights:
            if len(self.labels) > 1:
                raise UserError(several_outputs(self.labels))
            return
        unknown = next((name for name in self.weights if name not in self.labels), None)
        if unknown is not None:
            known = nearest(unknown, self.labels) if self.labels else "; name the outputs in judge.labels"
            raise UserError(f"judge.weights: the model has no output {unknown!r}{known}.")
        if not any(self.weights.values()):
            raise UserError("judge.weights: all are 0, so no output counts; give one another weight.")

    def score(self, outputs: Sequence[float]) -> Score:
        """Return the weighted sum of the outputs, with the outputs by label as the reasoning.

        If the number of outputs is wrong, the score is a failure.
        """
        expected = len(self.labels) or 1
        if len(outputs) != expected:
            said = f"the model has {len(outputs)} outputs and {expected} expected"
            return Score(None, failure=f"{said}; name each in judge.labels and weigh them in judge.weights")
        if not self.weights:
            return Score(outputs[0])
        by_label = dict(zip(self.labels, outputs, strict=True))
        total = sum(weight * by_label[name] for name, weight in self.weights.items())
        named = ", ".join(f"{name} {value:.4g}" for name, value in by_label.items())
        return Score(total, named).checked()


def several_outputs(labels: Sequence[str]) -> str:
    """Return the error message for a model with several outputs and no weights."""
    named = ", ".join(labels[:SHOWN]) + (", …" if len(labels) > SHOWN else "")
    return (
        f"judge.weights: the model has {len(labels)} outputs ({named}) and not one score; give weights to "
        f"those that count, as in weights: {{{labels[0]}: 1}}."
    )
