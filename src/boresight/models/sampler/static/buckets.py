"""Sizes of decode steps: batch rows and key/value tokens are rounded up, so that few graphs serve all steps."""

from __future__ import annotations

from dataclasses import dataclass

FEWEST_ROWS, FEWEST_TOKENS = 8, 64
TOKEN_PARTS = 4
"""Numbers of tokens between a power of two and its double: attention reads a quarter too many at most."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The shape of a decode step: `rows` of the batch, each over the first `tokens` of its keys and values."""

    rows: int
    tokens: int


def bucket_of(rows: int, tokens: int) -> Bucket:
    """The smallest bucket that holds `rows` rows of `tokens` tokens."""
    return Bucket(_rounded(rows, FEWEST_ROWS, 1), _rounded(tokens, FEWEST_TOKENS, TOKEN_PARTS))


def buckets_up_to(most: Bucket) -> list[Bucket]:
    """All buckets no larger than `most`: a bound on the number of captures of a rollout."""
    sizes = {bucket_of(rows, tokens) for rows in _steps(most.rows) for tokens in range(1, most.tokens + 1)}
    return sorted(sizes, key=lambda bucket: (bucket.rows, bucket.tokens))


def _steps(most: int) -> list[int]:
    """Powers of two up to `most`, which is one."""
    return [1 << exponent for exponent in range(most.bit_length())]


def _rounded(count: int, least: int, parts: int) -> int:
    """`count` rounded up to a multiple of `least`, and to one of `parts` numbers per doubling."""
    step = max(least, (1 << (count - 1).bit_length()) // (2 * parts))
    return -(-count // step) * step
