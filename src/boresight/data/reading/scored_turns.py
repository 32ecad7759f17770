"""Select the assistant turns to train on if the data give no weights (`data.score`).

A weight in the data takes precedence. Chat rendering (`boresight.data.rendering`) and the readers use weights
only, so the setting is written into the messages as weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from boresight.core.schema import Demonstration, Example, Labeled, Message, Preference, is_scored


def only_last(example: Example) -> Example:
    """Return the example with weight 0 on every assistant turn but the last, unless the data give a weight.

    Turns that the data exclude do not count as the last turn. In a preference pair, each answer is treated
    separately.
    """
    match example:
        case Demonstration(messages):
            return replace(example, messages=_only_last(messages))
        case Preference(_, chosen, rejected):
            return replace(example, chosen=_only_last(chosen), rejected=_only_last(rejected))
        case Labeled(_, completion):
            return replace(example, completion=_only_last(completion))
    return example


def count_scored(examples: Sequence[Example]) -> int:
    """Return the number of assistant turns that are trained on."""
    return sum(map(is_scored, (message for example in examples for message in _answers(example))))


def _only_last(messages: list[Message]) -> list[Message]:
    last = max(n for n, message in enumerate(messages) if is_scored(message))
    return [
        {**message, "weight": 0} if is_scored(message) and n != last and "weight" not in message else message
        for n, message in enumerate(messages)
    ]


def _answers(example: Example) -> list[Message]:
    match example:
        case Demonstration(messages):
            return messages
        case Preference(_, chosen, rejected):
            return chosen + rejected
        case Labeled(_, completion):
            return completion
    return []
