"""Metrics of a study after training: names, labels and units. No imports, so that plans load at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StudyMetric:
    """A metric with one number per prompt.

    `logged` is its key in end.json, None for a metric that is computed from answers.

    `by_row`: True for metrics of held-out rows, of which several may share a prompt; False for metrics of
    prompts.
    """

    label: str
    unit: str
    better: str = "higher"
    logged: str | None = None
    by_row: bool = True
    even: float = 0.0
    """The value at which two arms are equal: 0 for differences, one half for win rates."""


METRICS = {
    "accuracy": StudyMetric("held-out pairs ranked right", "share", logged="accuracy"),
    "margin": StudyMetric("held-out margin", "nats", logged="margin"),
    "nll": StudyMetric("held-out negative log-likelihood per token", "nats", "lower", logged="nll_per_token"),
    "kl": StudyMetric("KL to the start model per token", "nats", "lower", logged="kl_per_token"),
    "solved": StudyMetric("held-out problems solved", "share", logged="reward", by_row=False),
    "good": StudyMetric("answers that pass every check", "share"),
    "words": StudyMetric("words of an answer", "words"),
    "win_rate": StudyMetric("win rate", "share", even=0.5),
}
"""Metrics by name. `win_rate` compares two arms and cannot be a column of a table: it is the share of prompts
on which one arm passes the check and the other does not, ties counted one half."""
