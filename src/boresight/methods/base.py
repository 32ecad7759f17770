"""Base class of every method's `Config`: strict, frozen, documented fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from boresight.core.strict_model import StrictModel
from boresight.methods.schedule import Schedule


class MethodConfig(StrictModel):
    """Base of a method's settings."""

    @property
    def wants_reference(self) -> bool:
        """Whether these settings make use of a reference model, where the method has one."""
        return True

    @property
    def reward_scale(self) -> float | None:
        """Implicit reward per nat of log-ratio: beta, if the method has one. None: log-ratios are not
        rewards."""
        return getattr(self, "beta", None)

    @property
    def per_token(self) -> bool:
        """Whether the loss compares answers by their mean log-probability per token."""
        return False

    @property
    def target_margin(self) -> float | None:
        """The margin at which the loss is smallest, nats, or nats per token if `per_token`; None if it is
        not finite."""
        return None

    @property
    def loss_unit(self) -> str:
        """Unit of the loss; '' for a dimensionless one. Losses of different units are not drawn on one
        axis."""
        return "nats"

    @property
    def margin_unit(self) -> str:
        """Unit of the logged margin, which with a reference is a difference of log-ratios."""
        return "nats"

    @property
    def metric_labels(self) -> Mapping[str, str]:
        """Labels of metrics whose meaning differs from that for pairs."""
        return {}

    @property
    def status_metrics(self) -> tuple[str, ...]:
        """Logged metrics by importance; the first two that a step has are on the status line."""
        return "margin", "accuracy", "loss", "grad_norm"

    @property
    def label_weights(self) -> tuple[float, float] | None:
        """Weights of a good and of a bad answer, in methods that learn from single labeled answers."""
        return None

    @property
    def samples_reference(self) -> bool:
        """Whether the reference draws one sample of each pair, in methods that sample pairs."""
        return True

    @property
    def replays(self) -> float:
        """Number of earlier pairs per prompt of a step, for methods that sample pairs."""
        return 0.0

    @property
    def explores(self) -> bool:
        """Whether the loss has a bonus for moving away from samples of the reference."""
        return False

    @property
    def dominating_bonus(self) -> float | None:
        """Gradient of the exploration bonus relative to that of the preference at the first step; None if
        small."""
        return None

    def at(self, progress: float) -> Self:
        """These settings at `progress` (0 to 1) of the run: schedules are replaced by their current value.

        Without schedules it returns `self`, so the loop can call it at every step for every method.
        """
        now = {name: value.at(progress) for name, value in self if isinstance(value, Schedule)}
        return self.model_copy(update=now) if now else self
