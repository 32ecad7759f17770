"""Log-probabilities of a rollout before its first update, for the ratios of its later updates.

They are the trainer's own, since a ratio compares two policies and not two ways to compute: the sampler works
in float32, and in bfloat16 an answer of forty tokens comes out a third of a nat off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from boresight.data.rows import Row
from boresight.methods.inputs import GroupLogps, LossInput
from boresight.models.reference.frozen import row_key

OldLogps = dict[str, list[float]]
"""Log-probabilities of a group's completions, nats, by the digest of its row (`row_key`)."""


def old_logps(rows: Sequence[Row], x: LossInput) -> OldLogps:
    """Log-probabilities of `rows` under the policy that computed `x`; none where rows are no groups."""
    if not isinstance(x, GroupLogps):
        return {}
    return {row_key(row).hex(): logps for row, logps in zip(rows, x.policy.tolist(), strict=True)}


def with_old_logps(rows: Sequence[Row], old: Mapping[str, Sequence[float]]) -> list[Row]:
    """The rows, with old log-probabilities where they are known."""
    if not old:
        return list(rows)
    return [_with_old(row, old[key]) if (key := row_key(row).hex()) in old else row for row in rows]


def _with_old(row: Row, logps: Sequence[float]) -> Row:
    completions = zip(row.completions, logps, strict=True)
    return replace(row, completions=tuple(replace(c, old_logp=logp) for c, logp in completions))
