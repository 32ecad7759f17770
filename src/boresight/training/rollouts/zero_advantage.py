"""Skip the forward pass for samples with zero advantage.

If all samples of a prompt have the same reward, none has an advantage, and the loss has no gradient. Their
log-probabilities are known from sampling, so the metrics are known without a forward pass. With a verifier
and a good policy most groups have zero advantage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from boresight.data.rows import Row
from boresight.methods import Method
from boresight.methods.base import MethodConfig
from boresight.methods.inputs import GroupLogps
from boresight.models.reference.frozen import Reference
from boresight.training.distributed import collectives
from boresight.training.forward import InputKind
from boresight.training.metrics import Gathered


def skip_zero_advantage(
    kind: InputKind,
    method: Method,
    reference: Reference | None,
    rows: Sequence[Row],
    cfg: MethodConfig,
    gathered: Gathered,
) -> Sequence[Row]:
    """Return the rows that have a gradient, or the first row if none has.

    The metrics of the other rows are added to `gathered` without a forward. All rows are returned if the loss
    needs values that the sampler does not have, such as a KL term.
    """
    x = kind.unmoved(reference, rows)
    if not isinstance(x, GroupLogps):
        return rows
    policy = x.policy.clone().requires_grad_()
    (pull,) = torch.autograd.grad(method.loss(replace(x, policy=policy), cfg).loss, policy)
    pulled = (pull != 0).any(-1).tolist()
    pulled[0] |= not any(pulled)  # an optimizer treats no gradient and a gradient of zero differently
    still = collectives.share([row for row, has in zip(rows, pulled, strict=True) if not has])
    if still:
        x = kind.unmoved(None, still)
        assert x is not None, "the sampler's log-probabilities of these rows are known"
        gathered.add([row.id for row in still], x, method.loss(x, cfg))
    return [row for row, has in zip(rows, pulled, strict=True) if has]
