"""Sample a token from logits with temperature, top-k, top-p and one uniform number; return its
log-probability.

A token is sampled by inverting the distribution function at a uniform number that the caller passes, so the
result depends only on that number and the distribution. The distribution function of a vocabulary is searched
in two steps, blocks of tokens first. Tokens are sorted only for top-k or top-p, and then only as many
candidates as are needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from boresight.models.precision import at_least_float32

BLOCK = 256
"""Number of tokens per block of the two-step search."""
CANDIDATES = 64
"""Number of most likely tokens that top-p considers first; it is multiplied by eight while they do not
suffice."""


@dataclass(frozen=True, slots=True)
class RowSettings:
    """Sampling settings of n rows.

    `temperature`, `top_p` and `top_k` are `(n,)`. `temperature` is positive, 1 for greedy rows; `top_p` is 1
    and `top_k` the vocabulary size where disabled. `truncated` contains the indices of rows with top-p or
    top-k, and `greedy` those of greedy rows; no row is in both. `tempered` is whether some temperature is not
    1.
    """

    temperature: Tensor
    top_p: Tensor
    top_k: Tensor
    greedy: Tensor
    truncated: Tensor
    tempered: bool

    @classmethod
    def of(
        cls,
        temperature: list[float],
        top_p: list[float],
        top_k: list[int],
        vocabulary: int,
        device: torch.device,
    ) -> RowSettings:
        """Build from plain numbers, where temperature 0 means greedy and top-k 0 means disabled."""
        heat = torch.tensor(temperature, dtype=torch.float64)
        greedy = heat == 0
        nucleus = torch.tensor(top_p, dtype=torch.float64)
        count = torch.tensor([min(k or vocabulary, vocabulary) for k in top_k])
        truncated = ((nucleus < 1) | (count < vocabulary)) & ~greedy
        return cls(
            temperature=heat.masked_fill(greedy, 1).to(device),
            top_p=nucleus.to(device),
            top_k=count.to(device),
            greedy=greedy.nonzero().squeeze(1).to(device),
            truncated=truncated.nonzero().squeeze(1).to(device),
            tempered=bool((heat.masked_fill(greedy, 1) != 1).any()),
        )


def draw_tokens(logits: Tensor, settings: RowSettings, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Sample one token per row; return it with its log-probability before truncation by top-k and top-p.

    Greedy rows get the most likely token, and its log-probability at temperature 1.

    Args:
        logits: `(n, V)`.
        uniforms: random numbers in [0, 1), float64 `(n,)`.

    Returns:
        Token ids `(n,)`, and the log-softmax of logits / temperature at them, in nats, `(n,)`, float32
        (float64 for float64 logits).
    """
    logits = logits.to(at_least_float32(logits.dtype))
    if settings.tempered:
        logits = logits / settings.temperature.to(logits.dtype).unsqueeze(1)
    p = logits.softmax(-1)
    tokens = invert(p, uniforms)
    if len(rows := settings.truncated):
        tokens[rows] = draw_truncated(p[rows], settings.top_p[rows], settings.top_k[rows], uniforms[rows])
    if len(rows := settings.greedy):
        tokens[rows] = logits[rows].argmax(-1)
    return tokens, p.gather(1, tokens.unsqueeze(1)).squeeze(1).log()


@dataclass(frozen=True, slots=True)
class MaskedSettings:
    """Sampling settings of n rows, as tensors `(n,)` whose shapes do not depend on the settings.

    They are those of `RowSettings`, with `greedy` as a bool mask. Every row is sampled in every way that any
    row needs, and masks select the result. `candidates` is the number of most likely tokens among which
    truncated rows are sampled: the largest `top_k`, or the vocabulary size if a row has top-p without top-k;
    0 if no row is truncated. `any_greedy` is whether some row is greedy.
    """

    temperature: Tensor
    top_p: Tensor
    top_k: Tensor
    greedy: Tensor
    any_greedy: bool
    candidates: int


def draw_masked(logits: Tensor, settings: MaskedSettings, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Sample as `draw_tokens` does, without reading a number on the host, for steps that are captured and
    replayed."""
    logits = logits.to(at_least_float32(logits.dtype))
    logits = logits / settings.temperature.to(logits.dtype).unsqueeze(1)  # dividing by 1 is exact
    p = logits.softmax(-1)
    tokens = invert(p, uniforms)
    if settings.candidates:
        truncated = (settings.top_p < 1) | (settings.top_k < p.shape[1])
        among, _ = _draw_among(p, settings.top_p, settings.top_k, uniforms, settings.candidates)
        tokens = torch.where(truncated, among, tokens)
    if settings.any_greedy:
        tokens = torch.where(settings.greedy, logits.argmax(-1), tokens)
    return tokens, p.gather(1, tokens.unsqueeze(1)).squeeze(1).log()


def invert(p: Tensor, uniforms: Tensor) -> Tensor:
    """Sample by inverting the cumulative distribution.

    Return for each row the first index whose cumulative sum exceeds `uniforms` times the sum of the row. `p`
    is `(n, V)` and need not sum to 1; `uniforms` and the result are `(n,)`.
    """
    size = p.shape[1]
    whole = size - size % BLOCK
    blocks = p[:, :whole].reshape(len(p), -1, BLOCK).sum(-1)
    if whole < size:
        blocks = torch.cat([blocks, p[:, whole:].sum(-1, keepdim=True)], dim=1)
    block, left = _search(blocks.double(), uniforms)
    inside = block * BLOCK + torch.arange(BLOCK, device=p.device)
    within = p.gather(1, inside.clamp(max=size - 1)).masked_fill(inside >= size, 0).double()
    # The rest of u within the block that was found, as a share of the block.
    place, _ = _search(within, left / blocks.double().gather(1, block).squeeze(1))
    # Among NaN any place may be found; one outside of the vocabulary would break the caller's lookup.
    return (block * BLOCK + place).squeeze(1).clamp(max=size - 1)


def draw_truncated(p: Tensor, top_p: Tensor, top_k: Tensor, uniforms: Tensor) -> Tensor:
    """Sample with top-k and top-p: among the `top_k` most likely tokens, from the smallest set with mass
    `top_p`.

    The set's mass is relative to that of the `top_k` tokens (Holtzman et al. 2020, arXiv 1904.09751). `p` is
    `(n, V)`, the other arguments are `(n,)`.
    """
    vocabulary = p.shape[1]
    tokens = torch.empty(len(p), dtype=torch.long, device=p.device)
    todo = torch.arange(len(p), device=p.device)
    width = max(CANDIDATES, int(top_k.where(top_k < vocabulary, 0).max()))
    while len(todo):
        width = min(width, vocabulary)
        drawn, enough = _draw_among(p[todo], top_p[todo], top_k[todo], uniforms[todo], width)
        tokens[todo[enough]] = drawn[enough]
        todo, width = todo[~enough], width * 8
    return tokens


def _draw_among(
    p: Tensor, top_p: Tensor, top_k: Tensor, uniforms: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """Sample as `draw_truncated` does among the `width` most likely tokens; also return whether these
    suffice, bool `(n,)`."""
    likely, ids = p.topk(width, dim=-1)
    likely = likely.double()
    k, share = top_k.unsqueeze(1), top_p.unsqueeze(1)
    likely.masked_fill_(torch.arange(width, device=p.device) >= k, 0)
    seen = likely.sum(-1, keepdim=True)
    needed = share * seen.where(k < p.shape[1], p.sum(-1, keepdim=True).double())
    kept = likely.masked_fill(likely.cumsum(-1) - likely >= needed, 0)
    rank, _ = _search(kept, uniforms)
    return ids.gather(1, rank).squeeze(1), ((seen >= needed) | (k <= width)).squeeze(1)


def _search(mass: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Find where the running sum of `mass` `(n, m)`, float64, first exceeds `share` `(n,)` of its total.

    Returns:
        The index `(n, 1)`, and the part of that entry's mass below the point `(n,)`.
    """
    running = mass.cumsum(-1)
    total = running[:, -1:]
    # Rounding must not carry the point to the end of the sum or beyond it.
    point = (share.unsqueeze(1) * total).clamp(min=0).minimum(total * (1 - 1e-12))
    index = torch.searchsorted(running, point, right=True).clamp_(max=mass.shape[1] - 1)
    below = running.gather(1, index) - mass.gather(1, index)
    return index, (point - below).squeeze(1)
