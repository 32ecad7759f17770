"""The three canonical forms that every dataset layout is read into.

All three are conversational: a message is `{"role": "user", "content": "…"}`. They follow TRL's
explicit conventions (`prompt`, `chosen`, `rejected` as lists of messages; `messages` for
demonstrations), so a file in canonical form is one that other tools read too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict


class Message(TypedDict):
    """One turn of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for an assistant turn."""

    prompt: list[Message]
    id: str
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A conversation whose assistant turns are to be imitated; the last turn is the assistant's."""

    messages: list[Message]
    id: str
    meta: dict[str, Any] = field(default_factory=dict)


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


Example = Prompt | Demonstration | Preference


def prompt_of(example: Example) -> list[Message]:
    """The messages before the answer; of a demonstration, before its last one."""
    return list(example.messages[:-1] if isinstance(example, Demonstration) else example.prompt)
