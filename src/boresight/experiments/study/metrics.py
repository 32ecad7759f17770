"""What a study measures after training: names, words and units. No imports, so that plans load at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One number by prompt. `logged` is its name in end.json; without one it comes from the answers.

    `by_row` where it is measured on held-out rows, of which several may share a prompt, and not on prompts.
    """

    label: str
    unit: str
    better: str = "higher"
    logged: str | None = None
    by_row: bool = True
    even: float = 0.0
    """The value at which two arms are equal: 0 for differences, one half for win rates."""


METRICS = {
    "accuracy": Metric("held-out pairs ranked right", "share", logged="accuracy"),
    "margin": Metric("held-out margin", "nats", logged="margin"),
    "nll": Metric("held-out negative log-likelihood per token", "nats", "lower", logged="nll_per_token"),
    "kl": Metric("KL to the start model per token", "nats", "lower", logged="kl_per_token"),
    "solved": Metric("held-out problems solved", "share", logged="reward", by_row=False),
    "good": Metric("answers that pass every check", "share"),
    "words": Metric("words of an answer", "words"),
    "win_rate": Metric("win rate", "share", even=0.5),
}
"""`win_rate` compares two arms and is no column; it counts prompts on which one passes and the other does
not, and ties one half."""
