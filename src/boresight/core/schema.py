"""The four canonical types of examples, into which every dataset layout is converted.

All are conversational: a message is `{"role": "user", "content": "…"}`. They follow TRL's explicit
conventions (`prompt`, `chosen`, `rejected` as lists of messages; `messages` for demonstrations), so other
tools can read files in this format too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict


class Message(TypedDict):
    """One turn of a conversation; `role` is `system`, `user`, `assistant` or `tool`.

    An assistant turn with tool calls may have empty `content`. A turn with `weight` 0 is context: it is
    rendered, but its tokens do not enter the loss. A weight of 1 is kept if the data contain it. `tools` and
    `chat_template_kwargs` are in the first turn and apply to the whole conversation. All other keys are
    passed to the chat template unchanged.
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
    """Whether the tokens of the message enter the loss: it is an assistant turn, and its weight is not 0."""
    return message["role"] == "assistant" and message.get("weight", 1) != 0


def turn_key(message: Message) -> tuple[object, ...]:
    """Return a key that is equal for two turns if their roles, contents and all other keys except `weight`
    are equal."""
    rest = sorted((k, repr(v)) for k, v in message.items() if k not in ("role", "content", "weight"))
    return (message["role"], message["content"], *rest)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that ends before an assistant turn.

    `as_text` is True if the source contains the prompt as text and not as messages; reward functions written
    for TRL then receive it as text.
    """

    prompt: list[Message]
    id: str
    meta: dict[str, Any] = field(default_factory=dict)
    as_text: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A conversation whose assistant turns are to be imitated; the last turn is the assistant's.

    `as_text` is True if the source contains the conversation as text and not as messages.
    """

    messages: list[Message]
    id: str
    meta: dict[str, Any] = field(default_factory=dict)
    as_text: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one prompt, of which `chosen` is preferred to `rejected`.

    Each answer is the list of turns after the prompt, usually one assistant message. Scores are given on the
    source's own scale, or None if the source has none.
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
    """One answer to a prompt, and a label: True if the answer is good.

    `completion` is the list of turns after the prompt, usually one assistant message. `as_text` is True if
    the source contains the prompt as text and not as messages.
    """

    prompt: list[Message]
    completion: list[Message]
    label: bool
    id: str
    meta: dict[str, Any] = field(default_factory=dict)
    as_text: bool = field(default=False, compare=False)


Example = Prompt | Demonstration | Preference | Labeled


def prompt_of(example: Example) -> list[Message]:
    """Return the messages before the answer; for a demonstration, all messages except the last one."""
    return list(example.messages[:-1] if isinstance(example, Demonstration) else example.prompt)


def answers_of(example: Preference | Labeled | Prompt) -> list[list[Message]]:
    """Return the turns after the prompt, one list of turns per answer; an empty list for a `Prompt`."""
    match example:
        case Preference(_, chosen, rejected):
            return [chosen, rejected]
        case Labeled(_, completion):
            return [completion]
    return []


def scores_of(example: Example) -> tuple[float, ...]:
    """Return the scores in the data: `(chosen, rejected)` for a pair, `(1.0,)` or `(0.0,)` for a labeled
    answer; an empty tuple if there are none."""
    if isinstance(example, Labeled):
        return (float(example.label),)
    if not isinstance(example, Preference) or example.chosen_score is None or example.rejected_score is None:
        return ()
    return example.chosen_score, example.rejected_score


def to_prompt(example: Example) -> Prompt:
    """Return the example without its answers."""
    as_text = not isinstance(example, Preference) and example.as_text
    return Prompt(prompt_of(example), example.id, example.meta, as_text)
