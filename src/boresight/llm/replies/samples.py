"""Detect endpoints that ignore the temperature, by identical samples of one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class IdenticalSamples:
    """Number of prompts for which one source gave several answers, and number of them whose answers are all
    identical."""

    prompts: int = 0
    identical: int = 0

    def add(self, texts: Sequence[str]) -> None:
        """Count the answers of one source to one prompt."""
        if len(texts) > 1:
            self.prompts += 1
            self.identical += len(set(texts)) == 1

    def sentence(self, source: str, temperature: float) -> str | None:
        """Return a warning if all samples of at least half of the prompts are identical, else None.

        >>> IdenticalSamples(9, 9).sentence("m", 0.9).partition(":")[0]
        'm'
        """
        if not self.prompts or self.identical * 2 < self.prompts:
            return None
        why = (
            "temperature 0 is greedy: ask for one answer, or raise it"
            if temperature == 0
            else f"the server seems to ignore temperature {temperature:g}: check its generation config"
        )
        found = f"identical for {self.identical:,} of {self.prompts:,} prompts"
        return f"{source}: all answers to a prompt are {found}; {why}."
