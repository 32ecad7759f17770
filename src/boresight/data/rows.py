"""Tokenized rows, the input of models and of the training loop for every method.

A `Row` is one prompt with k completions: k = 1 for a demonstration, 2 for a preference pair (chosen first),
any k for a group of rollouts. Every completion continues the same prompt, so the packed forward pass can
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

    `ids` is int32 `(length,)`. `mask` is bool `(length,)`: True for scored tokens (assistant text and its
    end-of-turn token), False for later user turns and the text of the template around turns.
    """

    ids: np.ndarray
    mask: np.ndarray
    truncated: bool = False
    """Whether the token limit ended the completion before its end-of-turn token."""
    sampled_logp: float | None = None
    """Sum of the sampler's log-probabilities, in nats; None for text that was not sampled."""
    old_logp: float | None = None
    """Sum of the trainer's log-probabilities before the first update on the rollout, in nats.

    None before it is computed.
    """
    old_token_logps: tuple[float, ...] | None = None
    """Log-probability of each scored token before the first update, in nats; None before it is computed.

    For methods with a loss per token.
    """
    importance: float = 1.0
    """Importance weight of the whole completion, policy over sampler, truncated.

    1 for completions of this package's sampler.
    """

    @property
    def scored(self) -> int:
        """Number of scored tokens."""
        return int(self.mask.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One prompt and its completions.

    `prompt` is int32 `(length,)` and not empty. `scores` are the rewards of the completions (1 or 0 for a
    labeled answer), and `from_reference` marks completions that were sampled from the reference model; both
    are empty for offline data without them.
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
    """Answer to another prompt, for methods that estimate a KL divergence from mismatched answers.

    It is not included in `tokens`.
    """

    @property
    def tokens(self) -> int:
        """Number of tokens in a packed forward pass: the prompt once, then every completion."""
        return len(self.prompt) + sum(len(c.ids) for c in self.completions)


def with_prompt_numbers(rows: Iterable[Row]) -> Iterator[tuple[Row, int]]:
    """Yield each row with the number of its prompt; equal prompts have equal numbers.

    Numbers are assigned in order of appearance. Stores 16 bytes per prompt and no row, since the rows may be
    a whole data set on the disk.
    """
    numbers: dict[bytes, int] = {}
    for row in rows:
        digest = blake2b(row.prompt.tobytes(), digest_size=16).digest()
        yield row, numbers.setdefault(digest, len(numbers))


RowOrReason = Row | tuple[str, UserError]
"""A row, or the id of an example and the error that explains why it has no row."""
