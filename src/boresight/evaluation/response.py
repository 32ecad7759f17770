"""An answer of a system, with its truncation."""

from __future__ import annotations

from dataclasses import dataclass

from boresight.core.wording import cut_at_tokens


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of a system to one prompt.

    Attributes:
        text: None if there is no answer, for example because it was refused or because the prompt fills the
            model's context.
        truncated: whether the answer reached the token limit; None if unknown.
        cut_at: number of tokens of a truncated answer; None if it was not truncated or the number is unknown.
    """

    text: str | None
    truncated: bool | None = None
    cut_at: int | None = None

    @property
    def cut_mark(self) -> str:
        """Label for a truncated answer, such as `cut at 64 tokens`; '' for any other answer."""
        return cut_at_tokens(self.cut_at) or ("cut at the token limit" if self.truncated else "")


MISSING = Response(None)
