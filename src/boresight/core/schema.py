"""The four canonical forms that every dataset layout is read into.

All are conversational: a message is `{"role": "user", "content": "…"}`. They follow TRL's
explicit conventions (`prompt`, `chosen`, `rejected` as lists of messages; `messages` for
demonstrations), so a file in canonical form is one that other tools read too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict


class Message(TypedDict):
    """One turn of a conversation; `role` is `system`, `user`, `assistant` or `tool`.

    The other keys go to the chat template as they are; an assistant's turn with calls may have no words.
    A turn of weight 0 is context: it is rendered and not learned. Weight 1 is kept where the data give it.
    `tools` and `chat_template_kwargs` stand in the first turn and are for the whole conversation.
    """

    role: str
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]
    function_call: NotRequired[dict[str, Any]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
    reasoning_content: NotRequired[str]
    reasoning: NotRequired[str]
    thinking: NotRequired[str]
    tools: NotRequired[list[dict[str, Any]]]
    chat_template_kwargs: NotRequired[dict[str, Any]]
    weight: NotRequired[int]


def is_scored(message: Message) -> bool:
    """Whether the message is an assistant's turn with a weight above 0, whose tokens are learned."""
    return message["role"] == "assistant" and message.get("weight", 1) != 0


def turn_key(message: Message) -> tuple[object, ...]:
    """Key by which two turns differ: role and words, and the other keys with content where there are any."""
    rest = sorted((k, repr(v)) for k, v in message.items() if k not in ("role", "content", "weight"))
    return (message["role"], message["content"], *rest)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that ends before an assistant turn.

    `as_text`: the source has the prompt as text, not as messages; reward functions written for TRL are given
    it in the same form.
    """

    prompt: list[Message]
    id: str
    meta: dict[str, Any] = field(default_factory=dict)
    as_text: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A conversation whose assistant turns are to be imitated; the last turn is the assistant's.

    `as_text` as in `Prompt`.
    """

    messages: list[Message]
    id: str
    meta: dict[str, Any] = field(default_factory=dict)
    as_text: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one prompt, the first preferred.

    `chosen` and `rejected` hold what follows the prompt: usually one assistant message each.
    Scores, where the source has them, are on the source's own scale.
    """

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    id: str
    chosen_score: float | None = None
    rejected_score: float | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Labeled:
    """One answer to a prompt, and whether it is a good one.

    `completion` holds what follows the prompt, as in `Preference`. `as_text` as in `Prompt`.
    """

    prompt: list[Message]
    completion: list[Message]
    label: bool
    id: str
    meta: dict[str, Any] = field(default_factory=dict)
    as_text: bool = field(default=False, compare=False)


Example = Prompt | Demonstration | Preference | Labeled


def prompt_of(example: Example) -> list[Message]:
    """The messages before the answer; of a demonstration, before its last one."""
    return list(example.messages[:-1] if isinstance(example, Demonstration) else example.prompt)


def answers_of(example: Preference | Labeled | Prompt) -> list[list[Message]]:
    """Everything that follows the prompt, one list of turns per answer; none for a prompt."""
    match example:
        case Preference(_, chosen, rejected):
            return [chosen, rejected]
        case Labeled(_, completion):
            return [completion]
    return []


def scores_of(example: Example) -> tuple[float, ...]:
    """The scores of each answer in the data: two scores of a pair, 1 or 0 of a labeled answer; () if there
    are none."""
    if isinstance(example, Labeled):
        return (float(example.label),)
    if not isinstance(example, Preference) or example.chosen_score is None or example.rejected_score is None:
        return ()
    return example.chosen_score, example.rejected_score


def to_prompt(example: Example) -> Prompt:
    """The example without its answers."""
    as_text = not isinstance(example, Preference) and example.as_text
    return Prompt(prompt_of(example), example.id, example.meta, as_text)
