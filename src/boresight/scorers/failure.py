"""A completion that a reward could not score."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """A completion that a reward function raised on, or gave something other than a number."""

    function: str
    index: int
    completion: str
    error: str

    def __str__(self) -> str:
        return f"{self.function}: {self.error}, on the completion {self.completion[:200]!r}"
