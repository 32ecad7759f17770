"""What the two operators of flash attention compute, written out for any device and precision."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from boresight.models.kernels import fast
from boresight.models.packed import varlen_flash
from boresight.models.precision import at_least_float32


def stand_in_for_flash(monkeypatch):
    """Fast kernels by the formula, on a device that has none."""
    monkeypatch.setattr(fast, "device_obstacle", lambda device, dtype: None)
    monkeypatch.setattr(varlen_flash, "varlen_forward", forward)
    monkeypatch.setattr(varlen_flash, "varlen_backward", backward)


def forward(query, key, value, queries, keys, *, causal, scaling):
    """As `varlen_forward`."""
    exact = at_least_float32(query.dtype)
    out = query.new_full(query.shape, math.nan)
    lse = torch.full((query.shape[1], len(query)), math.nan, dtype=exact)
    for q, k in sequences(queries, keys, len(query), len(key)):
        scores = scores_of(query[q], key[k], causal, scaling, exact)
        lse[:, q] = scores.logsumexp(-1)
        weights = scores.softmax(-1)
        out[q] = torch.einsum("hqk,khd->qhd", weights, spread(value[k], query).to(exact)).to(out.dtype)
    return out, lse


def backward(grad, query, key, value, out, lse, queries, keys, *, causal, scaling):
    """As `varlen_backward`: each weight is exp(score - lse), whatever other keys `lse` counts."""
    assert grad.is_contiguous() and out.is_contiguous() and lse.is_contiguous()
    exact = at_least_float32(query.dtype)
    grad, out = grad.to(exact), out.to(exact)
    d_query, d_key, d_value = (torch.full_like(x, math.nan) for x in (query, key, value))
    for q, k in sequences(queries, keys, len(query), len(key)):
        weights = (scores_of(query[q], key[k], causal, scaling, exact) - lse[:, q, None]).exp()
        d_weights = torch.einsum("qhd,khd->hqk", grad[q], spread(value[k], query).to(exact))
        delta = (grad[q] * out[q]).sum(-1).T[..., None]
        d_scores = weights * (d_weights - delta) * scaling
        d_query[q] = torch.einsum("hqk,khd->qhd", d_scores, spread(key[k], query).to(exact)).to(query.dtype)
        d_key[k] = gathered(torch.einsum("hqk,qhd->khd", d_scores, query[q].to(exact)), key).to(key.dtype)
        d_value[k] = gathered(torch.einsum("hqk,qhd->khd", weights, grad[q]), value).to(value.dtype)
    return d_query, d_key, d_value


def sequences(queries, keys, last_query, last_key):
    """Slices of the queries and the keys of every sequence, which cover all of both and are never empty."""
    bounds = [s.bounds.tolist() for s in (queries, keys)]
    assert [b[-1] for b in bounds] == [last_query, last_key] and len(bounds[0]) == len(bounds[1])
    for sequence, ends in zip((queries, keys), bounds, strict=True):
        lengths = [b - a for a, b in pairwise(ends)]
        assert sequence.bounds.dtype == torch.int32 and min(lengths) > 0 and max(lengths) <= sequence.longest
    return zip(*([slice(a, b) for a, b in pairwise(ends)] for ends in bounds), strict=True)


def scores_of(query, key, causal, scaling, exact):
    scores = torch.einsum("qhd,khd->hqk", query.to(exact), spread(key, query).to(exact)) * scaling
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[1:], dtype=torch.bool).triu(1), -math.inf)
    return scores


def spread(x, query):
    """Keys or values `(T, groups, d)`, once for every query head."""
    return x.repeat_interleave(query.shape[1] // x.shape[1], dim=1)


def gathered(grad, like):
    """Gradient `(tokens, heads, d)` of keys or values that query heads share: the sum over them."""
    _, groups, width = like.shape
    return grad.view(len(grad), groups, -1, width).sum(2)
