"""Base class of every method's `Config`: immutable, documented fields; unknown keys are errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from boresight.core.strict_model import StrictModel
from boresight.methods.schedule import Schedule


class MethodConfig(StrictModel):
    """Base class of a method's settings."""

    @property
    def wants_reference(self) -> bool:
        """Whether the loss with these settings uses the reference model, in methods that have one."""
        return True

    @property
    def reward_scale(self) -> float | None:
        """Implicit reward per nat of log-probability ratio: `beta`. None without `beta`: log-ratios are no
        rewards."""
        return getattr(self, "beta", None)

    @property
    def per_token(self) -> bool:
        """Whether the loss compares answers by their mean log-probability per token."""
        return False

    @property
    def target_margin(self) -> float | None:
        """Finite margin at which the loss is smallest, in nats, or nats per token if `per_token`; None by
        default."""
        return None

    @property
    def loss_unit(self) -> str:
        """Unit of the loss; '' for a dimensionless one. Charts do not draw losses with different units on one
        axis."""
        return "nats"

    @property
    def margin_unit(self) -> str:
        """Unit of the logged margin. With a reference model, the margin is a difference of log-probability
        ratios."""
        return "nats"

    @property
    def metric_labels(self) -> Mapping[str, str]:
        """Labels of metrics, by metric name, where the meaning differs from that for preference pairs."""
        return {}

    @property
    def status_metrics(self) -> tuple[str, ...]:
        """Names of logged metrics, most important first. The status line shows the first two that a step
        logs."""
        return "margin", "accuracy", "loss", "grad_norm"

    @property
    def label_weights(self) -> tuple[float, float] | None:
        """Weights of a good and of a bad answer; None for methods that do not learn from labeled single
        answers."""
        return None

    @property
    def samples_reference(self) -> bool:
        """Whether one completion of each pair is sampled from the reference model, in methods that sample
        pairs."""
        return True

    @property
    def replays(self) -> float:
        """Number of earlier pairs added to a step, per prompt of the step, in methods that sample pairs."""
        return 0.0

    @property
    def explores(self) -> bool:
        """Whether the loss contains an exploration bonus, as in XPO."""
        return False

    @property
    def dominating_bonus(self) -> float | None:
        """Ratio of the exploration bonus's gradient to the preference term's at the first step; None if it is
        small or there is no bonus."""
        return None

    def at(self, progress: float) -> Self:
        """Return these settings at `progress` (0 to 1) of the run, with schedules replaced by their current
        values.

        Without schedules it returns `self`, so the loop can call it at every step for every method.
        """
        now = {name: value.at(progress) for name, value in self if isinstance(value, Schedule)}
        return self.model_copy(update=now) if now else self
