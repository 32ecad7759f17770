"""The packed layout: rows end to end, every prompt once, no padding.

A row lies as `[prompt | y1 | … | yk]`, and rows with the same prompt as one, with the completions of all.
Position ids count through the prompt and restart after it for every completion, so each completion sits where
it would sit alone. The logits that score the first token of every completion come from the last position of
the prompt.

On a GPU the rounding of a product depends on its shape, not on what the other rows hold. So forwards there
are filled up to one of few lengths (`filled_forwards`), and forwards of one length round a row alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from boresight.data.rows import Row
from boresight.models.kernels.to_device import to_device
from boresight.models.packed.short_rows import ShortRows, short_rows
from boresight.models.precision import widest_float

BLOCK = 128
"""Tokens of a block of FlexAttention's mask, its default."""
PARTS = (4, 2, 1)
"""Forwards are filled up to the length of a full one over these."""

_full: ContextVar[int | None] = ContextVar("tokens of a full forward", default=None)


@contextmanager
def filled_forwards(tokens: int | None) -> Iterator[None]:
    """Inside the block forwards on a GPU are filled up to `tokens`, to a half or to a quarter of them.

    With None, or outside of any block, to whole blocks of `BLOCK` tokens.
    """
    before = _full.set(tokens)
    try:
        yield
    finally:
        _full.reset(before)


def fills(device: torch.device) -> bool:
    """Whether forwards on `device` are filled up: on a CPU rounding does not depend on their shape."""
    return device.type == "cuda"


@dataclass(frozen=True, slots=True)
class Span:
    """Where a prompt and completions of it lie in the packed sequence."""

    prompt: slice
    completions: tuple[slice, ...]

    @property
    def end(self) -> int:
        """First position after the last completion."""
        return self.completions[-1].stop if self.completions else self.prompt.stop

    @property
    def longest(self) -> int:
        """Tokens of the prompt and its longest completion, which is what a sliding window must hold."""
        return length(self.prompt) + max((length(c) for c in self.completions), default=0)


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows packed into one sequence of T tokens, S of their positions predicting a scored token.

    `ids` and `positions` are int64 `(1, T)`. `scored` are the places in the sequence whose hidden states
    predict scored tokens, each once: the end of a prompt predicts the first token of all its completions.
    `predictors` are the entries of `scored` that predict `targets`; `owner` is the completion of the token,
    as row * k + completion; all `(S,)`.
    """

    ids: Tensor
    positions: Tensor
    rows: tuple[Span, ...]
    """Of every row its prompt, which rows may share, and its own completions."""
    spans: tuple[Span, ...]
    """Every distinct prompt and, behind it, its completions in all rows: parts that attend to themselves."""
    scored: Tensor
    predictors: Tensor
    targets: Tensor
    owner: Tensor
    completions: int
    short: ShortRows | None = None
    """How to attend in one block, where all rows are short."""
    plain: bool = False
    """Attend by the formula written out, not by a kernel: slow, and the same everywhere."""
    filler: tuple[Span, ...] = ()
    """Tokens after the last row that belong to no row and predict nothing, in spans of up to `BLOCK`."""

    @property
    def segments(self) -> tuple[Span, ...]:
        """The prompts with their completions, and the filler: what attention has to cover."""
        return (*self.spans, *self.filler)

    def per_completion(self, values: Tensor) -> Tensor:
        """Sums of `values` `(S,)` over the scored tokens of each completion, `(rows, k)`.

        In float64: a GPU adds in any order, and the rounded result must not depend on it.
        """
        shape = len(self.rows), self.completions
        exact = widest_float(values.device)
        zeros = values.new_zeros(shape[0] * shape[1], dtype=exact)
        return zeros.index_add(0, self.owner, values.to(exact)).to(values.dtype).view(shape)

    def lengths(self) -> Tensor:
        """Scored tokens of each completion, float32 `(rows, k)`."""
        return self.per_completion(torch.ones_like(self.owner, dtype=torch.float32))


def pack(
    rows: Sequence[Row], completions: int, device: torch.device, *, fill: bool | None = None
) -> PackedBatch:
    """Lay `rows`, each with the same number of completions, end to end, every distinct prompt once.

    `fill` up to one of few lengths, or not; None does so on CUDA.

    Raises:
        ValueError: a prompt without a token, whose first answer token nothing would predict.
    """
    if empty := [row.id for row in rows if not len(row.prompt)]:
        raise ValueError(f"row {empty[0]!r} has an empty prompt")
    sharing = _sharing_a_prompt(rows)
    joint = [_joint([rows[place] for place in places]) for places in sharing]
    spans = _spans(joint)
    by_row = _by_row(spans, sharing, completions)
    filler = _filler(spans) if fill or (fill is None and fills(device)) else ()
    parts = [part for row in joint for part in (row.prompt, *(c.ids for c in row.completions))]
    parts += [np.zeros(length(span.prompt), np.int32) for span in filler]
    positions = [_positions(span) for span in (*spans, *filler)]
    predictors, targets, owner = [], [], []
    for i, (row, span) in enumerate(zip(rows, by_row, strict=True)):
        for j, (completion, place) in enumerate(zip(row.completions, span.completions, strict=True)):
            before = np.arange(place.start - 1, place.stop - 1)
            before[:1] = span.prompt.stop - 1
            predictors.append(before[completion.mask])
            targets.append(completion.ids[completion.mask])
            owner.append(np.full(completion.scored, i * completions + j))

    scored, index = np.unique(np.concatenate(predictors), return_inverse=True)

    def tensor(values: np.ndarray) -> Tensor:
        return to_device(values.astype(np.int64), device)

    segments = [[length(s.prompt), *map(length, s.completions)] for s in spans]
    return PackedBatch(
        ids=tensor(np.concatenate(parts))[None],
        positions=tensor(np.concatenate(positions))[None],
        rows=by_row,
        spans=spans,
        scored=tensor(scored),
        predictors=tensor(index),
        targets=tensor(np.concatenate(targets)),
        owner=tensor(np.concatenate(owner)),
        completions=completions,
        short=short_rows(segments, device) if device.type == "cpu" and not filler else None,
        filler=filler,
    )


def whole_blocks(tokens: int) -> int:
    """Tokens rounded up to whole blocks, at least two: a single one would be compiled for apart."""
    return max(2, -(-tokens // BLOCK)) * BLOCK


def length(s: slice) -> int:
    """Tokens in a slice of the packed sequence."""
    return int(s.stop - s.start)


def filled_length(tokens: int) -> int:
    """Tokens that a forward of so many is filled up to: one of few lengths inside `filled_forwards`.

    A row longer than a full forward makes one of its own, filled up to a multiple of a full one.
    """
    full = _full.get()
    if full is None:
        return whole_blocks(tokens)
    longest = whole_blocks(full)
    lengths = (whole_blocks(-(-full // part)) for part in PARTS)
    return next((length for length in lengths if tokens <= length), -(-tokens // longest) * longest)


def _filler(spans: Sequence[Span]) -> tuple[Span, ...]:
    """In short spans, which cost little attention and have positions that every model has."""
    start, end = spans[-1].end, filled_length(spans[-1].end)
    return tuple(Span(slice(at, min(at + BLOCK, end)), ()) for at in range(start, end, BLOCK))


def _sharing_a_prompt(rows: Sequence[Row]) -> list[list[int]]:
    """Places of the rows of every distinct prompt, in the order in which prompts first appear."""
    found: dict[bytes, list[int]] = {}
    for place, row in enumerate(rows):
        found.setdefault(row.prompt.tobytes(), []).append(place)
    return list(found.values())


def _joint(rows: Sequence[Row]) -> Row:
    """One row with the completions of `rows`, which have the same prompt."""
    return replace(rows[0], completions=tuple(c for row in rows for c in row.completions))


def _spans(rows: Sequence[Row]) -> tuple[Span, ...]:
    spans, start = [], 0
    for row in rows:
        prompt = slice(start, start + len(row.prompt))
        places, end = [], prompt.stop
        for completion in row.completions:
            places.append(slice(end, end + len(completion.ids)))
            end = places[-1].stop
        spans.append(Span(prompt, tuple(places)))
        start = end
    return tuple(spans)


def _by_row(spans: Sequence[Span], sharing: Sequence[Sequence[int]], completions: int) -> tuple[Span, ...]:
    """The prompt and the own completions of each row, from those of the rows that share it."""
    found = {
        place: Span(span.prompt, span.completions[n * completions : (n + 1) * completions])
        for span, places in zip(spans, sharing, strict=True)
        for n, place in enumerate(places)
    }
    return tuple(found[place] for place in range(len(found)))


def _positions(span: Span) -> np.ndarray:
    """Position ids of a span: through the prompt, then from its end again for each completion."""
    prompt = length(span.prompt)
    return np.concatenate(
        [np.arange(prompt), *(np.arange(prompt, prompt + length(c)) for c in span.completions)]
    )
