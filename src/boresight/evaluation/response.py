"""One answer of a system."""

from __future__ import annotations

from dataclasses import dataclass

from boresight.core.wording import cut_at_tokens


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `text` is None if it was refused, or if the prompt fills the model's context.

    `truncated`: whether it reached the token limit; None if unknown. `cut_at`: its number of tokens if it
    did; None if it did not, or if the number is unknown.
    """

    text: str | None
    truncated: bool | None = None
    cut_at: int | None = None

    @property
    def cut_mark(self) -> str:
        """The mark of an answer that was cut, as in `cut at 64 tokens`; '' for any other."""
        return cut_at_tokens(self.cut_at) or ("cut at the token limit" if self.truncated else "")


MISSING = Response(None)
