"""The packed layout: rows end to end, every prompt once, no padding.

A row is laid out as `[prompt | y1 | … | yk]`; rows with the same prompt are merged into one that has the
completions of all. For fast kernels, all prompts come before all completions (`shared_prefix`). Position ids
count through the prompt and restart after it for every completion, so each completion has the positions that
it would have alone. The logits for the first token of every completion come from the last position of the
prompt.

On a GPU, the rounding of a product depends on its shape, but not on the content of other rows. So forwards
there are padded to one of a few lengths (`filled_forwards`), and forwards of equal length round a row in the
same way. On a CPU where oneDNN computes the products, they are padded once for all layers, to a number of
rows for which oneDNN needs no padding (`matmul.filled_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import accumulate, islice

import numpy as np
import torch
from torch import Tensor

from boresight.data.rows import Row, with_prompt_numbers
from boresight.models.kernels.fast import fast_kernels
from boresight.models.kernels.libraries import libraries
from boresight.models.kernels.matmul import filled_rows
from boresight.models.kernels.to_device import to_device
from boresight.models.packed.shared_prefix import PrefixCalls, RowLengths, prefix_calls, prompts_first
from boresight.models.packed.short_rows import ShortRows, short_rows
from boresight.models.precision import widest_float

BLOCK = 128
"""Number of tokens in a block of FlexAttention's mask, its default."""
PARTS = (4, 2, 1)
"""Divisors of the length of a full forward that give the lengths to which shorter forwards are padded."""

_full: ContextVar[int | None] = ContextVar("tokens of a full forward", default=None)


@contextmanager
def filled_forwards(tokens: int | None) -> Iterator[None]:
    """Inside the block forwards on a GPU are padded to `tokens`, or to a half or a quarter of it.

    With None, or outside of any block, they are padded to whole blocks of `BLOCK` tokens.
    """
    before = _full.set(tokens)
    try:
        yield
    finally:
        _full.reset(before)


def fills(device: torch.device) -> bool:
    """Whether forwards on `device` are padded; on a CPU rounding does not depend on their shape."""
    return device.type == "cuda"


@dataclass(frozen=True, slots=True)
class Span:
    """Positions of a prompt and of its completions in the packed sequence.

    They are contiguous, in this order, except in rows that were packed for fast kernels.
    """

    prompt: slice
    completions: tuple[slice, ...]

    @property
    def end(self) -> int:
        """First position after the last completion."""
        return self.completions[-1].stop if self.completions else self.prompt.stop

    @property
    def longest(self) -> int:
        """Number of tokens of the prompt with its longest completion, which a sliding window must cover."""
        return length(self.prompt) + max((length(c) for c in self.completions), default=0)


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows packed into one sequence of T tokens, with S positions that predict a scored token.

    `ids` and `positions` are int64 `(1, T)`. `scored` contains the positions whose hidden states predict
    scored tokens, each once: the last position of a prompt predicts the first token of all its completions.
    For each scored token, `targets` is its id, `predictors` the index into `scored` of the position that
    predicts it, and `owner` the index of its completion, row * k + completion; all are `(S,)`.
    """

    ids: Tensor
    positions: Tensor
    rows: tuple[Span, ...]
    """For every row, the positions of its prompt, which rows may share, and of its own completions."""
    spans: tuple[Span, ...]
    """Positions of every distinct prompt and of its completions in all rows; attention is within each of
    these."""
    scored: Tensor
    predictors: Tensor
    targets: Tensor
    owner: Tensor
    completions: int
    short: ShortRows | None = None
    """Block layout for attention if all rows are short; else None."""
    calls: PrefixCalls | None = None
    """Sequences for fast kernels, with the tokens in the order of `prompts_first`; None for other kernels."""
    plain: bool = False
    """Whether attention is computed by the formula and not by a kernel, which is slow and identical on all
    devices."""
    filler: tuple[Span, ...] = ()
    """Padding after the last row, which belongs to no row and predicts nothing, in spans of up to `BLOCK`
    tokens."""

    @property
    def segments(self) -> tuple[Span, ...]:
        """The prompts with their completions, and the padding: all parts that attention must compute."""
        return (*self.spans, *self.filler)

    def per_completion(self, values: Tensor) -> Tensor:
        """Return the sums of `values` `(S,)` over the scored tokens of each completion, `(rows, k)`.

        They are computed in float64, because the order of additions on a GPU varies and the rounded result
        must not depend on it.
        """
        shape = len(self.rows), self.completions
        exact = widest_float(values.device)
        zeros = values.new_zeros(shape[0] * shape[1], dtype=exact)
        return zeros.index_add(0, self.owner, values.to(exact)).to(values.dtype).view(shape)

    def lengths(self) -> Tensor:
        """Return the number of scored tokens of each completion, float32 `(rows, k)`."""
        return self.per_completion(torch.ones_like(self.owner, dtype=torch.float32))


def pack(
    rows: Sequence[Row],
    completions: int,
    device: torch.device,
    dtype: torch.dtype | None = None,
    *,
    fill: bool | None = None,
) -> PackedBatch:
    """Pack `rows`, each with the same number of completions, end to end, with every distinct prompt once.

    Args:
        completions: number of completions per row.
        dtype: dtype of the model.
        fill: pad the sequence to one of a few lengths. None pads on CUDA, and, with fewer tokens, for a
            float32 model on a CPU where oneDNN computes products.

    Raises:
        ValueError: a prompt has no tokens, so no position would predict the first token of its completions.
    """
    if empty := [row.id for row in rows if not len(row.prompt)]:
        raise ValueError(f"row {empty[0]!r} has an empty prompt")
    sharing = _sharing_a_prompt(rows)
    joint = [_joint([rows[place] for place in places]) for places in sharing]
    lengths = [[len(row.prompt), *(len(c.ids) for c in row.completions)] for row in joint]
    tokens, fast = sum(map(sum, lengths)), fast_kernels()
    spans = _spans(lengths, prompts_first(lengths) if fast else _row_by_row(lengths))
    by_row = _by_row(spans, sharing, completions)
    filler = _filler(tokens, _padded_length(tokens, device, dtype, fill))
    ids, positions = _ids_and_positions(joint, spans, filler, tokens)
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

    by_block = device.type == "cpu" and not (fill or fills(device) or fast)
    return PackedBatch(
        ids=tensor(ids)[None],
        positions=tensor(positions)[None],
        rows=by_row,
        spans=spans,
        scored=tensor(scored),
        predictors=tensor(index),
        targets=tensor(np.concatenate(targets)),
        owner=tensor(np.concatenate(owner)),
        completions=completions,
        short=short_rows(lengths, len(ids), device) if by_block else None,
        calls=prefix_calls(lengths, [length(span.prompt) for span in filler], device) if fast else None,
        filler=filler,
    )


def whole_blocks(tokens: int) -> int:
    """Return `tokens` rounded up to whole blocks, at least two, since a single block would be compiled
    separately."""
    return max(2, -(-tokens // BLOCK)) * BLOCK


def length(s: slice) -> int:
    """Return the number of tokens in a slice of the packed sequence."""
    return int(s.stop - s.start)


def filled_length(tokens: int) -> int:
    """Return the length to which a forward of `tokens` is padded: one of a few lengths inside
    `filled_forwards`.

    A row longer than a full forward has a forward of its own, padded to a multiple of a full one.
    """
    lengths = few_lengths()
    if not lengths:
        return whole_blocks(tokens)
    longest = lengths[-1]
    return next((length for length in lengths if tokens <= length), -(-tokens // longest) * longest)


def few_lengths() -> tuple[int, ...]:
    """Return the lengths of forwards inside `filled_forwards`, ascending; empty outside of it.

    Forwards of rows that are longer than a full forward have other lengths.
    """
    full = _full.get()
    return () if full is None else tuple(whole_blocks(-(-full // part)) for part in PARTS)


def _padded_length(tokens: int, device: torch.device, dtype: torch.dtype | None, fill: bool | None) -> int:
    """Return the length to which a forward of `tokens` tokens is padded; the arguments are those of
    `pack`."""
    if fill or (fill is None and fills(device)):
        return filled_length(tokens)
    by_libraries = fill is None and device.type == "cpu" and dtype == torch.float32
    if by_libraries and "onednn" in (libraries().products, libraries().weight_gradients):
        return filled_rows(tokens)
    return tokens


def _filler(tokens: int, end: int) -> tuple[Span, ...]:
    """Return the padding from `tokens` to `end`, as short spans.

    Short spans cost little attention, and their positions exist in every model.
    """
    return tuple(Span(slice(at, min(at + BLOCK, end)), ()) for at in range(tokens, end, BLOCK))


def _sharing_a_prompt(rows: Sequence[Row]) -> list[list[int]]:
    """Return the indices of the rows of every distinct prompt, in the order in which prompts first appear."""
    found: dict[int, list[int]] = {}
    for place, (_, number) in enumerate(with_prompt_numbers(rows)):
        found.setdefault(number, []).append(place)
    return list(found.values())


def _joint(rows: Sequence[Row]) -> Row:
    """Merge `rows`, which have the same prompt, into one row with the completions of all."""
    return replace(rows[0], completions=tuple(c for row in rows for c in row.completions))


def _by_row(spans: Sequence[Span], sharing: Sequence[Sequence[int]], completions: int) -> tuple[Span, ...]:
    """Return the positions of each row's prompt and own completions, given those of merged rows."""
    found = {
        place: Span(span.prompt, span.completions[n * completions : (n + 1) * completions])
        for span, places in zip(spans, sharing, strict=True)
        for n, place in enumerate(places)
    }
    return tuple(found[place] for place in range(len(found)))


def _row_by_row(rows: RowLengths) -> list[list[int]]:
    """Return the position of the first token of every part of `rows`, laid out one row after the other."""
    ends = iter(accumulate((tokens for parts in rows for tokens in parts), initial=0))
    return [list(islice(ends, len(parts))) for parts in rows]


def _spans(rows: RowLengths, starts: Sequence[Sequence[int]]) -> tuple[Span, ...]:
    spans = []
    for parts, at in zip(rows, starts, strict=True):
        prompt, *completions = (slice(a, a + n) for a, n in zip(at, parts, strict=True))
        spans.append(Span(prompt, tuple(completions)))
    return tuple(spans)


def _ids_and_positions(
    rows: Sequence[Row], spans: Sequence[Span], filler: Sequence[Span], tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the token ids and the position ids of the packed sequence, both int64 `(T,)`.

    The rows fill the first `tokens` positions; padding follows.
    """
    ids, positions = np.zeros((2, filler[-1].end if filler else tokens), np.int64)
    for row, span in zip(rows, spans, strict=True):
        places = np.concatenate([np.arange(p.start, p.stop) for p in (span.prompt, *span.completions)])
        ids[places] = np.concatenate([row.prompt, *(c.ids for c in row.completions)])
        positions[places] = _positions(span)
    for span in filler:
        positions[span.prompt] = _positions(span)
    return ids, positions


def _positions(span: Span) -> np.ndarray:
    """Return the position ids of a span: through the prompt, and for each completion from the end of the
    prompt."""
    prompt = length(span.prompt)
    return np.concatenate(
        [np.arange(prompt), *(np.arange(prompt, prompt + length(c)) for c in span.completions)]
    )
