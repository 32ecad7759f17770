"""Keep one model equal in several processes: sum gradients, and check that weights are identical.

Each process back-propagates sums of `loss * weight` over its share of the rows. Summed over processes and
divided once, by the weight of the whole batch, they are the gradient that a single process would compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from boresight.core.errors import UserError
from boresight.models.kernels.matmul import gradient_dtype
from boresight.models.kernels.split_weights import low_bits
from boresight.models.policy import Policy
from boresight.training.distributed import collectives

BUCKET = 16 << 20
"""Number of gradient elements per all-reduce: 64 MB in float32."""


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its sum over processes, with one all-reduce per bucket.

    A parameter without a gradient in any process keeps None, since optimizers treat None and zero
    differently. Gradients of sharded parameters are not summed here, since their backward has done so.
    """
    if collectives.world() == 1 or any(_is_dtensor(p) for p in parameters):
        return
    has_gradient = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8)
    dist.all_reduce(has_gradient, dist.ReduceOp.MAX)
    used = [p for p, has in zip(parameters, has_gradient.tolist(), strict=True) if has]
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter, dtype=gradient_dtype(parameter))
    for bucket in _buckets([p.grad for p in used if p.grad is not None]):
        flat = torch.cat([grad.reshape(-1) for grad in bucket])
        dist.all_reduce(flat)
        parts = flat.split([grad.numel() for grad in bucket])
        torch._foreach_copy_(bucket, [p.view_as(grad) for p, grad in zip(parts, bucket, strict=True)])


def _buckets(grads: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Divide gradients, in order, into buckets of one precision and at most `BUCKET` elements."""
    bucket: list[Tensor] = []
    for grad in grads:
        full = sum(g.numel() for g in bucket) + grad.numel() > BUCKET
        if bucket and (full or bucket[0].dtype != grad.dtype):
            yield bucket
            bucket = []
        bucket.append(grad)
    if bucket:
        yield bucket


def _is_dtensor(parameter: Tensor) -> bool:
    """Return whether each process holds only a part of the parameter."""
    from torch.distributed.tensor import DTensor

    return isinstance(parameter, DTensor)


def reseed(seed: int, step: int) -> None:
    """Seed the dropout of one step.

    Masks differ between processes, and a resumed run needs no saved random state.
    """
    if collectives.world() > 1:
        torch.manual_seed(int(np.random.SeedSequence((seed, step, collectives.rank())).generate_state(1)[0]))


def check_replicas(policy: Policy, when: str) -> None:
    """Compare the weights of all processes bit by bit, through an integer sum.

    Raises:
        UserError: the weights differ between processes.
    """
    if collectives.world() == 1 or any(_is_dtensor(p) for p in policy.parameters()):
        return
    held = [*policy.parameters(), *low_bits(policy.parameters())]
    total = sum(int(_bits(p.detach()).sum(dtype=torch.int64)) for p in held) % (1 << 63)
    sums = collectives.gather(total)
    if len(set(sums)) > 1:
        odd = next(number for number, other in enumerate(sums) if other != sums[0])
        raise UserError(
            f"process {odd} holds other weights than process 0 {when}; start all of them from the same "
            "files, on machines with the same software."
        )


def _bits(values: Tensor) -> Tensor:
    return values.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()])
