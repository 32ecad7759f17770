"""Instructions on the beginning, the end and the structure of an answer."""

from __future__ import annotations

SEPARATOR = "******"
"""Separator between two responses."""


def has_two_responses(text: str) -> bool:
    """Whether the answer consists of two different responses that are divided by a separator."""
    parts = [part.strip() for part in text.split(SEPARATOR)]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def repeats_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    """Whether the answer begins with the prompt, ignoring case."""
    return text.strip().lower().startswith(prompt_to_repeat.lower())


def ends_with(text: str, *, end_phrase: str) -> bool:
    """Whether the answer ends with the phrase, ignoring case; quotation marks may follow it."""
    return text.strip().strip('"').lower().endswith(end_phrase.lower())


def is_quoted(text: str) -> bool:
    """Whether the answer begins and ends with a double quotation mark."""
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'
