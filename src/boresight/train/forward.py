"""From rows to what a loss eats: one function per kind of input.

`KINDS` is the only place that knows both. A new pairwise method needs nothing here; a new kind of
input needs its dataclass in `methods/inputs.py` and one entry below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from boresight.data.rows import Row
from boresight.methods.inputs import PairLogps, PolicyPairLogps, SequenceLogps
from boresight.models.logprobs import completion_logprobs
from boresight.models.reference import Reference


@dataclass(frozen=True, slots=True)
class Kind:
    """What an input type needs: the kind of data, whether a reference, and how it is computed."""

    data: str
    needs_reference: bool
    build: Callable[[Any, Reference | None, Sequence[Row]], Any]


def _sequence(model: Any, reference: Reference | None, rows: Sequence[Row]) -> SequenceLogps:
    logps = completion_logprobs(model, rows)
    return SequenceLogps(policy=logps.sums[:, 0], length=logps.lengths[:, 0])


def _policy_pair(model: Any, reference: Reference | None, rows: Sequence[Row]) -> PolicyPairLogps:
    logps = completion_logprobs(model, rows)
    return PolicyPairLogps(*logps.sums.unbind(1), *logps.lengths.unbind(1))


def _pair(model: Any, reference: Reference | None, rows: Sequence[Row]) -> PairLogps:
    assert reference is not None
    logps = completion_logprobs(model, rows)
    ref = reference(rows).to(logps.sums)
    return PairLogps(*logps.sums.unbind(1), *ref.unbind(1), *logps.lengths.unbind(1))


KINDS: dict[type[Any], Kind] = {
    SequenceLogps: Kind(data="demonstration", needs_reference=False, build=_sequence),
    PolicyPairLogps: Kind(data="preference", needs_reference=False, build=_policy_pair),
    PairLogps: Kind(data="preference", needs_reference=True, build=_pair),
}


def at_reference(x: Any) -> Any:
    """The same inputs with the policy's log-probabilities replaced by the reference's.

    This is what every method must see before the first step, so `loss(at_reference(x))` is the
    value the step-0 check expects, whatever the method. Inputs without a reference come back as
    they are.
    """
    from dataclasses import replace

    if not isinstance(x, PairLogps):
        return x
    return replace(x, policy_chosen=x.ref_chosen, policy_rejected=x.ref_rejected)


def batch_size(x: Any) -> int:
    """Number of examples in an input."""
    first = next(getattr(x, name) for name in x.__dataclass_fields__)
    return len(first)


def largest_log_ratio(x: Any) -> float | None:
    """max |log pi - log ref| over the batch, nats; None for inputs without a reference."""
    if not isinstance(x, PairLogps):
        return None
    both: Tensor = torch.cat([x.chosen_logratio, x.rejected_logratio])
    return float(both.detach().abs().max())
