"""Guess the training method of another program's log from the metrics in it."""

from __future__ import annotations


def method_of_log(*, rewards: bool, margins: bool, accuracies: bool) -> str:
    """Return the most likely method of a log, given which metrics it contains.

    Args:
        rewards: whether it contains rewards of sampled completions.
        margins: whether it contains reward margins.
        accuracies: whether it contains accuracies of pairs. KTO, on labeled single answers, logs margins
            without accuracies.
    """
    if rewards:
        return "grpo"
    if margins:
        return "dpo" if accuracies else "kto"
    return "sft"
