"""Settings of the guard: bounds on the distance from the start model beyond which a run is stopped."""

from __future__ import annotations

from pydantic import Field

from boresight.config.section import Section


class GuardSection(Section):
    """Bounds on held-out numbers. A run is stopped if a number exceeds its bound by more than its interval.

    All numbers are changes against the start model, measured at every evaluation. Null in place of a number
    turns its bound off; `train.guard: null` turns the guard off.
    """

    kl: float | None = Field(default=0.15, gt=0)
    """Largest KL from the policy to the start model, nats per token, on the answers of held-out pairs."""
    likelihood_fall: float | None = Field(default=0.15, gt=0)
    """Largest fall in the log-probability of held-out chosen answers or demonstrations, nats per token."""
    length: float | None = Field(default=2.0, gt=1)
    """Largest factor by which answers to held-out prompts get longer or shorter, for methods that learn from
    given pairs."""
    ending_fall: float | None = Field(default=0.15, gt=0, lt=1)
    """Largest fall in the share of answers that end before the token limit."""
    loops_rise: float | None = Field(default=0.15, gt=0, lt=1)
    """Largest rise in the share of answers that end in a loop."""
    distinct_fall: float | None = Field(default=0.25, gt=0, lt=1)
    """Largest fall in the share of answers that differ from the answers to all other prompts."""
    reward_fall: float | None = Field(default=0.05, gt=0)
    """Largest fall in the mean reward of answers to held-out prompts, in the reward's own unit."""
