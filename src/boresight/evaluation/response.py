"""One answer of a system."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `text` is None if it was refused, or if the prompt fills the model's context.

    `truncated`: whether it reached the token limit; None if unknown.
    """

    text: str | None
    truncated: bool | None = None


MISSING = Response(None)
