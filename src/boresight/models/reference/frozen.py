"""The frozen reference model, as the training loop uses it: a function from rows to log-probabilities.

For offline data, the reference's log-probabilities are computed once, before the first step, by the policy
itself, which equals the reference at that time (with LoRA: with adapters disabled). No second model is held
in memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from boresight.core.errors import UserError
from boresight.data.batching import PromptLengths, micro_batches, within_budget
from boresight.data.rows import Row
from boresight.models.kernels.compact import compact_frozen
from boresight.models.kernels.split_weights import is_split
from boresight.models.lora import adapters_off, has_adapters
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.policy import Policy, causal_model
from boresight.models.reference.distinct import DistinctRows, LogpTable, row_key

Reference = Callable[[Sequence[Row]], Tensor]
"""A function from rows to summed log-probabilities `(rows, k)`, float32, nats, without gradient."""


class StoredReference:
    """Reference log-probabilities of known rows, looked up by content.

    `cached` is the number of rows that were read from the cache and not computed.
    """

    def __init__(self, table: Mapping[bytes, Tensor], cached: int = 0) -> None:
        self.table, self.cached = table, cached

    def __call__(self, rows: Sequence[Row]) -> Tensor:
        """Return the log-probabilities of `rows`, which must be known, `(rows, k)`, float32, in nats."""
        return torch.stack([self.table[row_key(row)] for row in rows])


def store_reference(
    model: Policy,
    rows: Sequence[Row],
    tokens_per_forward: int,
    on_rows: Callable[[int], None] = lambda done: None,
) -> StoredReference:
    """Compute the reference's log-probabilities of `rows` with `model` in its current state, with adapters
    disabled.

    Args:
        on_rows: called after each forward with the number of rows that it finished.
    """
    wanted = DistinctRows(rows)
    table = LogpTable(wanted.key_array)
    for part in reference_sums(model, wanted, tokens_per_forward):
        table.put(part)
        on_rows(len(part))
    return StoredReference(table)


@torch.no_grad()
def reference_sums(
    model: Policy, rows: DistinctRows, tokens_per_forward: int
) -> Iterator[dict[bytes, Tensor]]:
    """Yield the log-probabilities `(k,)` of rows by key, float32, in nats, for one forward at a time, longest
    rows first.

    Raises:
        UserError: some are NaN or infinite.
    """
    with adapters_off(model):
        for places in within_budget(PromptLengths.of(row for _, row in rows), tokens_per_forward):
            group = [rows[place] for place in places]
            sums = completion_logprobs(model, group).sums.float().cpu()
            _refuse_not_finite(group, sums)
            yield {rows.key(place): value for place, value in zip(places, sums, strict=True)}


def _refuse_not_finite(rows: Sequence[Row], sums: Tensor) -> None:
    """Raise a `UserError` if a log-probability in `sums` `(rows, k)` is NaN or infinite."""
    broken = [row.id for row, finite in zip(rows, sums.isfinite().all(1), strict=True) if not finite]
    if broken:
        where = "every row" if len(broken) == len(rows) else f"rows {', '.join(broken[:5])}"
        raise UserError(
            f"model: the log-probabilities of {where} are not finite; look for NaN or infinite weights, or "
            "compute in model.dtype=float32."
        )


class LiveReference:
    """The reference for rows that are sampled during training: runs `model` with its adapters disabled."""

    def __init__(self, model: Policy, tokens_per_forward: int, temperature: float = 1.0) -> None:
        self.model, self.tokens_per_forward, self.temperature = model, tokens_per_forward, temperature

    def __call__(self, rows: Sequence[Row]) -> Tensor:
        """Return the log-probabilities of `rows`, `(rows, k)`, float32, in nats."""
        return torch.stack(self._by_row(rows, tokens=False))

    def tokens(self, rows: Sequence[Row]) -> Tensor:
        """Return the log-probability of every scored token, `(rows, k, longest)`, in nats, padded with 0 per
        completion."""
        by_place = [line.T for line in self._by_row(rows, tokens=True)]
        return torch.nn.utils.rnn.pad_sequence(by_place, batch_first=True).transpose(1, 2)

    @torch.no_grad()
    def _by_row(self, rows: Sequence[Row], *, tokens: bool) -> list[Tensor]:
        """Return the results in the order of `rows`; forwards process the longest rows first."""
        found: dict[int, Tensor] = {}
        with adapters_off(self.model):
            for group in micro_batches(rows, self.tokens_per_forward):
                scored = completion_logprobs(self.model, group, temperature=self.temperature, tokens=tokens)
                values = scored.sums if scored.tokens is None else scored.tokens
                found |= {id(row): value.float() for row, value in zip(group, values, strict=True)}
        return [found[id(row)] for row in rows]


def frozen_copy(policy: Policy, dtype: str = "float32") -> Policy:
    """Return a model with the current weights of `policy` that does not change in training.

    It is `policy` itself if it has adapters, which can be disabled, and a copy otherwise. If `dtype` is
    bfloat16, the copy stores its weights in bfloat16, which changes no result of computations in bfloat16. A
    copy of split weights consists of their bfloat16 halves.
    """
    if has_adapters(policy):
        return policy
    frozen = copy.deepcopy(policy).requires_grad_(False).eval()
    if dtype == "bfloat16" and not is_split(causal_model(policy)):
        base = causal_model(frozen)
        compact_frozen(base, "bfloat16", torch.bfloat16, base.get_output_embeddings())
    return frozen
