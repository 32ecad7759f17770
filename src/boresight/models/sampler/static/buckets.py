"""Sizes of decode steps: rows and key/value tokens are rounded up, so that few graphs serve all steps.

Up to 256 rows and 1,024 tokens there are 6 x 12 buckets. A rollout captures those that it uses: a full batch
at growing lengths, and smaller ones at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

FEWEST_ROWS, FEWEST_TOKENS = 8, 64
TOKEN_PARTS = 4
"""Number of bucket sizes in tokens per doubling; with 4, attention reads at most a quarter more than it
needs."""


@dataclass(frozen=True, slots=True)
class DecodeBucket:
    """Shape of a decoding step: it computes `rows` rows, each over the first `tokens` of its keys and
    values."""

    rows: int
    tokens: int


def bucket_of(rows: int, tokens: int) -> DecodeBucket:
    """Return the smallest bucket with at least `rows` rows and `tokens` tokens."""
    return DecodeBucket(_rounded(rows, FEWEST_ROWS, 1), _rounded(tokens, FEWEST_TOKENS, TOKEN_PARTS))


def _rounded(count: int, least: int, parts: int) -> int:
    """Round `count` up to a multiple of `least`, and to one of `parts` numbers per doubling."""
    step = max(least, (1 << (count - 1).bit_length()) // (2 * parts))
    return -(-count // step) * step
