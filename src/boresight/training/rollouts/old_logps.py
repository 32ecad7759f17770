"""Store the log-probabilities of a rollout before its first update, for the ratios of its later updates.

They are computed by the trainer, since a ratio compares two policies and not two implementations. The sampler
computes in float32, and in bfloat16 an answer of forty tokens deviates from that by a third of a nat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from boresight.data.rows import Completion, Row
from boresight.methods.inputs import GroupLogps, GroupTokenLogps, LossInput
from boresight.models.reference.distinct import row_key

SumAndTokens = tuple[float, list[float] | None]
"""Log-probability of a completion, nats, and those of its scored tokens if the loss is per token (else
None)."""

OldLogps = dict[str, list[SumAndTokens]]
"""Log-probabilities of each row's completions, by the digest of the row (`row_key`, hexadecimal)."""


def old_logps(rows: Sequence[Row], x: LossInput) -> OldLogps:
    """Return the log-probabilities of `rows` under the policy that computed `x`; empty without groups."""
    if not isinstance(x, GroupLogps):
        return {}
    sums = x.policy.tolist()
    tokens = x.policy_tokens.tolist() if isinstance(x, GroupTokenLogps) else [[None] * len(s) for s in sums]
    return {
        row_key(row).hex(): [
            (total, each and each[: completion.scored])
            for completion, total, each in zip(row.completions, *group, strict=True)
        ]
        for row, *group in zip(rows, sums, tokens, strict=True)
    }


def with_old_logps(rows: Sequence[Row], old: Mapping[str, Sequence[SumAndTokens]]) -> list[Row]:
    """Return the rows, with the old log-probabilities added to those in `old`."""
    if not old:
        return list(rows)
    return [_with_old(row, old[key]) if (key := row_key(row).hex()) in old else row for row in rows]


def _with_old(row: Row, logps: Sequence[SumAndTokens]) -> Row:
    completions = zip(row.completions, logps, strict=True)
    return replace(row, completions=tuple(_completion(c, *known) for c, known in completions))


def _completion(completion: Completion, total: float, tokens: Sequence[float] | None) -> Completion:
    return replace(completion, old_logp=total, old_token_logps=None if tokens is None else tuple(tokens))
