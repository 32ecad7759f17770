"""One answer of a system, as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Response:
    """A text, or None where there is none: it was refused, or its prompt fills the model's context.

    `truncated`: whether it reached the longest length; None where that is not known.
    """

    text: str | None
    truncated: bool | None = None


MISSING = Response(None)
