"""Tokenized rows: the input of models and training loop, for every method.

A `Row` is one prompt with k completions: k = 1 for a demonstration, 2 for a preference (chosen first), any k
for a group of rollouts. Every completion continues the same prompt, which is what lets the packed forward
compute the prompt once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from boresight.core.errors import UserError


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """Tokens that follow a prompt.

    `ids` is int32 `(length,)`; `mask` is bool `(length,)`, True where the token is scored (assistant
    text and its end-of-turn token), False on later user turns and template glue.
    """

    ids: np.ndarray
    mask: np.ndarray
    truncated: bool = False
    """The token limit ended it before its end-of-turn token."""
    sampled_logp: float | None = None
    """Summed log-probability that the sampler drew it with, nats; None for text from elsewhere."""
    old_logp: float | None = None
    """The sum as the trainer computes it, before the first update on the rollout; None until then."""
    old_token_logps: tuple[float, ...] | None = None
    """Log-probabilities of its scored tokens, nats, for methods with a loss per token; None until then."""
    importance: float = 1.0
    """Importance weight of the whole completion, policy over sampler, truncated; 1 for this package's
    sampler."""

    @property
    def scored(self) -> int:
        """Number of scored tokens."""
        return int(self.mask.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One prompt and its completions.

    `prompt` is int32 `(length,)`, never empty. `scores` are rewards of the completions (of a labeled
    answer 1 or 0) and `from_reference` marks those sampled from the reference model; both are empty
    for offline data that carries neither.
    """

    id: str
    prompt: np.ndarray
    completions: tuple[Completion, ...]
    truncated: bool = False
    scores: tuple[float, ...] = ()
    from_reference: tuple[bool, ...] = ()
    weight: float = 1.0
    """Weight of the row in the mean of a batch."""
    mismatched: Completion | None = None
    """The answer to another prompt, for methods that estimate a KL from mismatched answers; `tokens` does
    not count it."""

    @property
    def tokens(self) -> int:
        """Tokens the packed forward computes: the prompt once, then every completion."""
        return len(self.prompt) + sum(len(c.ids) for c in self.completions)


def with_prompt_numbers(rows: Iterable[Row]) -> Iterator[tuple[Row, int]]:
    """Each row with the number of its prompt: equal prompts have equal numbers, in order of appearance.

    Remembers 16 bytes per prompt and no row, since the rows may be those of a whole data set on disk.
    """
    numbers: dict[bytes, int] = {}
    for row in rows:
        digest = blake2b(row.prompt.tobytes(), digest_size=16).digest()
        yield row, numbers.setdefault(digest, len(numbers))


RowOrReason = Row | tuple[str, UserError]
"""A row, or the id of an example and the error that explains why it has no row."""
