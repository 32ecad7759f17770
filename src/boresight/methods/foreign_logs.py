"""Infer the method of another program's log from the metrics in it."""

from __future__ import annotations


def method_of_log(*, rewards: bool, margins: bool, accuracies: bool) -> str:
    """The usual method of a log, given whether it has rewards of samples, margins, and accuracies of pairs.

    Single labeled answers have margins and no accuracies.
    """
    if rewards:
        return "grpo"
    if margins:
        return "dpo" if accuracies else "kto"
    return "sft"
