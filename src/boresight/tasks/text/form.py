"""Reward for completions of a given form: tags in order, each once, closed and not empty."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from boresight.core.errors import UserError

Tags = Annotated[tuple[str, ...], Field(min_length=1, description="Names of the tags, in order.")]
Prefilled = Annotated[
    bool, Field(description="Whether the prompt ends with the first opening tag, as some templates have it.")
]
Alone = Annotated[bool, Field(description="Whether nothing but white space may stand outside the tags.")]


def has_form(
    prompts: Sequence[Any],
    completions: Sequence[str],
    rows: Sequence[Any],
    *,
    tags: Tags = ("think", "answer"),
    prefilled: Prefilled = False,
    alone: Alone = True,
) -> list[float]:
    """1 for `<think>…</think><answer>…</answer>`, or the same form with other `tags`; else 0.

    Raises:
        UserError: a tag is named twice, or contains other characters than letters, digits, - and _.
    """
    for tag in tags:
        if tags.count(tag) > 1 or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", tag):
            raise UserError(
                f"reward format: options.tags has {tag!r}; name each tag once, by letters, digits, - and _."
            )
    opened = f"<{tags[0]}>" if prefilled else ""
    return [float(_of_form(opened + completion, tags, alone)) for completion in completions]


def _of_form(text: str, tags: Sequence[str], alone: bool) -> bool:
    marks = [mark for tag in tags for mark in (f"<{tag}>", f"</{tag}>")]
    if any(text.count(mark) != 1 for mark in marks):
        return False
    outside, inside = [], []
    for tag in tags:
        before, _, text = text.partition(f"<{tag}>")
        content, closed, text = text.partition(f"</{tag}>")
        if not closed:
            return False  # tags cross or stand in another order
        outside.append(before)
        inside.append(content)
    nested = any(mark in content for content in inside for mark in marks)
    return not nested and all(map(str.strip, inside)) and not (alone and "".join([*outside, text]).strip())
