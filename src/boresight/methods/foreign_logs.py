"""Which method a log of another program is of, by what it logs."""

from __future__ import annotations


def method_of_log(*, rewards: bool, margins: bool, accuracies: bool) -> str:
    """The usual method of a log that has rewards of samples, margins of answers, and ranked pairs.

    Single labeled answers have margins and no pairs that could be ranked.
    """
    if rewards:
        return "grpo"
    if margins:
        return "dpo" if accuracies else "kto"
    return "sft"
