"""Count the conversations that become several rows, and the rows and tokens that this adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from boresight.data.rows import Row


@dataclass(frozen=True, slots=True)
class SplitTurns:
    """Counts of conversations that have one row per assistant turn.

    `rows` and `tokens` are the numbers of rows and tokens that this adds.
    """

    conversations: int
    rows: int
    tokens: int

    @property
    def sentence(self) -> str:
        """The counts as a sentence for the terminal."""
        return (
            f"the chat template writes earlier turns otherwise than the last, so {self.conversations:,} "
            "conversations have a row for each assistant's turn, as generation sees it: "
            f"{self.rows:,} more rows and {self.tokens:,} more tokens"
        )


def split_turns(made: Sequence[Sequence[object]]) -> SplitTurns | None:
    """Count the examples with several rows, given the rows of each example; None if there are none.

    The last row of an example is the whole conversation, so the others are additional.
    """
    conversations = more = tokens = 0
    for rows in made:
        if len(rows) > 1:
            conversations += 1
            more += len(rows) - 1
            tokens += sum(row.tokens for row in rows[:-1] if isinstance(row, Row))
    return SplitTurns(conversations, more, tokens) if conversations else None
