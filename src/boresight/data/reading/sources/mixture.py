"""Mix several data sources by their shares, without repeating a row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce

import numpy as np

from boresight.core.errors import UserError
from boresight.core.schema import Example
from boresight.data.reading.load import Loaded
from boresight.data.stored.digests import DigestSet, digests
from boresight.data.stored.view import concatenated, each_changed, picked

JOINED = " + "
"""Separator of the source names in the name of a mixture."""


def mix(loaded: Mapping[str, Loaded], shares: Mapping[str, float], seed: int) -> Loaded:
    """Mix as many rows as the shares allow without repeating one; the rows are sampled with `seed`.

    The source that is smallest relative to its share is used completely. The rows of a source follow those of
    the source before it. An id that occurs in two sources is prefixed by the number of the source: `row-1` of
    the second source becomes `2:row-1`.

    Args:
        loaded: the rows of each source.
        shares: share of each source in the mixture; they sum to 1.
        seed: seed of the sample.

    Raises:
        UserError: a source has no row, or its share is too small for a single row.
    """
    for name, source in loaded.items():
        if not source.examples:
            raise UserError(f"data.train: {name} has no row to mix.")
    total = min(len(source.examples) / shares[name] for name, source in loaded.items())
    parts = [
        _drawn(source, name, round(total * shares[name]), (seed, 2, number))
        for number, (name, source) in enumerate(loaded.items(), 1)
    ]
    used = [
        f"{len(part.examples):,} of {len(source.examples):,} of {source.source}"
        for part, source in zip(parts, loaded.values(), strict=True)
    ]
    first = parts[0]
    return Loaded(
        examples=_with_distinct_ids([part.examples for part in parts]),
        layout=JOINED.join(dict.fromkeys(part.layout for part in parts)),
        kind=first.kind,
        source=JOINED.join(
            f"{part.source} ({shares[name]:.3g})" for name, part in zip(loaded, parts, strict=True)
        ),
        sha256=hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest(),
        bad=[bad for part in parts for bad in part.bad],
        left_out=sum(part.left_out for part in parts),
        identical=sum(part.identical for part in parts),
        sentence=f"mixed {JOINED.join(used)}",
        rows=reduce(concatenated, (part.rows for part in parts)),
    )


def _drawn(source: Loaded, name: str, count: int, seed: tuple[int, int, int]) -> Loaded:
    if count == 0:
        raise UserError(f"data.train: not one row of {name} is in the mixture; give it a larger share.")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(source.examples))[:count])
    rows = picked(source.rows, chosen) if source.rows else ()
    return replace(source, examples=picked(source.examples, chosen), rows=rows)


def _with_distinct_ids(sources: Sequence[Sequence[Example]]) -> Sequence[Example]:
    """Return all examples; an id that occurs in two sources is prefixed by the number of its source."""
    ids = [np.unique(digests(example.id for example in examples)) for examples in sources]
    found, times = np.unique(np.concatenate(ids), return_counts=True)
    shared = DigestSet(found[times > 1])

    def numbered(number: int, example: Example) -> Example:
        return replace(example, id=f"{number}:{example.id}") if example.id in shared else example

    told_apart = (each_changed(part, partial(numbered, n)) for n, part in enumerate(sources, 1))
    return reduce(concatenated, told_apart)
