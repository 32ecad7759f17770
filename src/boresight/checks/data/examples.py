"""Hold the examples before tokenization, as read from their files: the input of the data checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from boresight.core.schema import Demonstration, Example, Labeled, Message, Preference, answers_of, prompt_of
from boresight.data.reading.message_keys import CALLS, THOUGHTS
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.stored import examples as stored_examples
from boresight.data.stored.digests import DigestSet, digests
from boresight.data.stored.examples import MEASURED_EVERY, example_bytes
from boresight.data.stored.view import picked

SAMPLE = 1000
FEWEST = 30
"""Minimum number of examples to judge a share; the interval is too wide with fewer."""


@dataclass(frozen=True)
class Examples:
    """Training and held-out examples, before tokenization.

    `asked` holds the prompts of `evaluate.prompts`.
    """

    train: Sequence[Example]
    eval: Sequence[Example] = ()
    asked: Sequence[Example] = ()
    all_train: Sequence[Example] | None = None
    """All training examples, if `train` is a sample of them; None if `train` holds all."""
    shortage: str = ""
    """Reason why fewer than `data.eval_rows` rows are held out; "" if there are as many."""

    @property
    def trained_on(self) -> Sequence[Example]:
        """All training examples, also if `train` is a sample of them."""
        return self.train if self.all_train is None else self.all_train

    @cached_property
    def pairs(self) -> list[Preference]:
        """The training pairs; empty for other kinds of data."""
        return [example for example in self.train if isinstance(example, Preference)]

    @cached_property
    def labeled(self) -> list[Labeled]:
        """The training examples with one labeled answer; empty for other kinds of data."""
        return [example for example in self.train if isinstance(example, Labeled)]

    @cached_property
    def answers(self) -> list[tuple[str, str]]:
        """`(chosen text, rejected text)` of every training pair."""
        return [(said(pair.chosen), said(pair.rejected)) for pair in self.pairs]

    @cached_property
    def scored(self) -> list[Preference]:
        """The training pairs that have a score for both answers."""
        return [p for p in self.pairs if p.chosen_score is not None and p.rejected_score is not None]

    @cached_property
    def prompts(self) -> list[str]:
        """The prompt of every training example, as text."""
        return [said(prompt_of(example)) for example in self.train]

    @cached_property
    def trained_keys(self) -> DigestSet:
        """Keys (`prompt_key`) of the prompts of all training examples."""
        return DigestSet(map(prompt_key, self.trained_on))


def some_in_memory(examples: Sequence[Example]) -> list[Example]:
    """Return the examples, or a sample of them if they take more than `IN_MEMORY` bytes.

    The sample holds all examples of as many prompts as fit, and possibly some of one more. Prompts are chosen
    by their digests, so that repeated prompts and contradicting labels are as frequent in the sample as in
    the whole data.
    """
    if MEASURED_EVERY * sum(map(example_bytes, examples[::MEASURED_EVERY])) <= stored_examples.IN_MEMORY:
        return [*examples]
    sizes = np.fromiter(map(example_bytes, examples), np.int64)
    order = np.argsort(digests(map(prompt_key, examples)), kind="stable")
    places = order[np.cumsum(sizes[order]) <= stored_examples.IN_MEMORY]
    return [*picked(examples, np.sort(places))]


def said(turns: Iterable[Message]) -> str:
    """Return the text of some messages: their content, tool calls and reasoning, joined by line breaks."""
    return "\n".join(part for message in turns for part in (message["content"], *_beside(message)))


def _beside(message: Message) -> list[str]:
    return [str(message[key]) for key in (*CALLS, *THOUGHTS) if key in message]  # type: ignore[literal-required]


def turns_of(example: Example) -> Iterator[Message]:
    """Iterate over every message of an example, those of all of its answers included."""
    if isinstance(example, Demonstration):
        return iter(example.messages)
    return chain(example.prompt, *answers_of(example))
