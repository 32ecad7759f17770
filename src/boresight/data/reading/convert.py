"""Conversions between kinds of examples.

A preference pair can be converted to a demonstration (its chosen answer) or to two labeled answers, an answer
labeled true to a demonstration, and every kind to a prompt. No conversion adds information.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from boresight.core.schema import (
    Demonstration,
    Example,
    Labeled,
    Message,
    Preference,
    Prompt,
    is_scored,
    to_prompt,
)
from boresight.data.reading import names

KINDS = ("preference", "demonstration", "labeled", "prompt")


def _chosen(pair: Preference) -> list[Example]:
    return [Demonstration(pair.prompt + pair.chosen, pair.id, pair.meta)]


def _both_answers(pair: Preference) -> list[Example]:
    return [
        Labeled(pair.prompt, pair.chosen, True, f"{pair.id}.chosen", pair.meta),
        Labeled(pair.prompt, pair.rejected, False, f"{pair.id}.rejected", pair.meta),
    ]


def _prompt_of_pair(pair: Preference) -> list[Example]:
    return [to_prompt(pair)]


def _prompt_of_labeled(example: Labeled) -> list[Example]:
    """Convert to a prompt; the answer becomes the gold answer only if its label is true."""
    gold = _gold(example.completion[-1]) if example.label else {}
    return [replace(to_prompt(example), meta={**gold, **example.meta, "label": example.label})]


def _prompt_of_demonstration(example: Demonstration) -> list[Example]:
    """Convert to a prompt: the turns up to the last one that is not the assistant's.

    The last answer becomes the gold answer, unless the row has one.
    """
    last = max(n for n, message in enumerate(example.messages) if message["role"] in ("user", "tool"))
    meta = {**_gold(example.messages[-1]), **example.meta}
    return [Prompt(example.messages[: last + 1], example.id, meta, example.as_text)]


def _gold(answer: Message) -> dict[str, str]:
    return {names.GOLD: answer["content"]} if is_scored(answer) else {}


def _if_good(example: Labeled) -> list[Example]:
    if not example.label:
        return []
    turns = example.prompt + example.completion
    return [Demonstration(turns, example.id, {**example.meta, "label": True}, example.as_text)]


def _as_it_is(example: Example) -> list[Example]:
    return [example]


Conversion = Callable[..., Sequence[Example]]
"""Function from an example of the file's kind to examples of the requested kind.

It returns an empty list if the example has no counterpart of that kind.
"""

CONVERSIONS: dict[tuple[str, str], tuple[Conversion, str]] = {
    ("preference", "demonstration"): (_chosen, "the chosen answers"),
    ("preference", "labeled"): (_both_answers, "every pair split into its chosen and its rejected answer"),
    ("preference", "prompt"): (_prompt_of_pair, "answers left out"),
    ("demonstration", "prompt"): (_prompt_of_demonstration, "last answers left out"),
    ("labeled", "demonstration"): (_if_good, "the answers labeled true"),
    ("labeled", "prompt"): (
        _prompt_of_labeled,
        "answers left out, those labeled true kept as the gold `answer`",
    ),
    **{(kind, kind): (_as_it_is, "") for kind in KINDS},
}
"""Conversion and the text that describes it, by `(kind of the file, requested kind)`."""
