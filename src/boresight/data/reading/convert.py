"""What else a file of one kind can be read as.

A preference pair holds a demonstration, its chosen answer; both hold a prompt. Nothing can be read as
more than it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from boresight.core.schema import Demonstration, Example, Preference, Prompt, is_scored
from boresight.data.reading import names

KINDS = ("preference", "demonstration", "prompt")


def _chosen(pair: Preference) -> Demonstration:
    return Demonstration(pair.prompt + pair.chosen, pair.id, pair.meta)


def _prompt_of_pair(pair: Preference) -> Prompt:
    return Prompt(pair.prompt, pair.id, pair.meta)


def _prompt_of_demonstration(example: Demonstration) -> Prompt:
    """Everything up to the last turn that is not the model's.

    The last answer is the gold one, unless the row has one.
    """
    if not is_scored(example.messages[-1]):
        return _prompt_of_judged(example)
    meta = {names.GOLD: example.messages[-1]["content"], **example.meta}
    return replace(_prompt_of_judged(example), meta=meta)


def _prompt_of_judged(example: Demonstration) -> Prompt:
    """The same of an answer that may be a bad one."""
    last = max(n for n, message in enumerate(example.messages) if message["role"] in ("user", "tool"))
    return Prompt(example.messages[: last + 1], example.id, example.meta, example.as_text)


def _if_labelled_true(example: Demonstration) -> Demonstration | None:
    return example if example.meta["label"] else None


def _as_it_is(example: Example) -> Example:
    return example


Conversion = Callable[..., Example | None]
"""From an example of the file's kind to one of the kind wanted; None for a row that does not count."""

CONVERSIONS: dict[tuple[str, str], tuple[Conversion, str]] = {
    ("preference", "demonstration"): (_chosen, "the chosen answers"),
    ("preference", "prompt"): (_prompt_of_pair, "answers left out"),
    ("demonstration", "prompt"): (_prompt_of_demonstration, "last answers left out"),
    ("unpaired", "demonstration"): (_if_labelled_true, "the answers labelled true"),
    ("unpaired", "prompt"): (_prompt_of_judged, "last answers left out"),
    **{(kind, kind): (_as_it_is, "") for kind in KINDS},
}
"""(kind of the file, kind wanted) -> the conversion, and what to say of it."""
