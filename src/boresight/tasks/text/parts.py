"""Extract the answer from a completion: the text after the reasoning, or inside a tag."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

THOUGHT = ("<think>", "</think>")

AnswerTag = Annotated[
    str | None,
    Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", description="Tag around the answer; None: it is the whole text."
    ),
]
"""Option of rewards: the name of the tag around the answer, such as `answer`."""


def without_thought(completion: str) -> str:
    """Return the completion after its last `</think>`; if reasoning is not closed, the text before it.

    >>> without_thought("<think>18?</think> 17")
    ' 17'
    """
    opening, closing = THOUGHT
    rest = completion[completion.rfind(closing) + len(closing) :] if closing in completion else completion
    return rest.partition(opening)[0]


def tagged(text: str, tag: str | None) -> str | None:
    """Return the content of the last `<tag>…</tag>`; None if there is none, or the last one is not closed.

    The whole text if `tag` is None.
    """
    if tag is None:
        return text
    _, opened, rest = text.rpartition(f"<{tag}>")
    inside, closed, _ = rest.partition(f"</{tag}>")
    return inside if opened and closed else None
