"""Compare stored outputs of linear layers with those of a forward that computes them.

A forward that reuses all outputs reproduces the sampler's log-probabilities even if the outputs are wrong, so
neither these nor the loss reveal a fault. Here one row is computed without reuse.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from boresight.data.rows import Row
from boresight.models.kernels.linear import ModuleForward, forwards_replaced
from boresight.models.packed.logprobs import completion_logprobs
from boresight.models.packed.packing import pack
from boresight.models.packed.plan import PackedPlan, packed_plan
from boresight.models.policy import Policy, causal_model
from boresight.models.reuse.linears import reusable_linears
from boresight.models.reuse.store import LinearOutputs, reusing


@torch.no_grad()
def compare_with_products(
    policy: Policy, outputs: LinearOutputs, row: Row, temperature: float
) -> tuple[float, Tensor, Tensor] | None:
    """Return `(difference, log-probabilities, lengths)`; None if no outputs are stored for `row`.

    The difference is the largest one between stored and computed outputs of any layer over the tokens of
    `row`, relative to the layer's largest output. Log-probabilities, summed per completion in nats, and
    numbers of scored tokens are those of a forward without reuse, both `(1, k)`.
    """
    batch = pack([row], len(row.completions), policy.device, policy.dtype)
    slots = outputs.slots_of(batch)
    if slots is None or not isinstance(packed_plan(policy, [row]), PackedPlan):
        return None
    off = [0.0]

    def compare(module: nn.Module, buffer: Tensor) -> ModuleForward:
        forward: Callable[..., Tensor] = module.forward

        def compute(x: Tensor) -> Tensor:
            out = forward(x)
            places = slots if x.shape[1] == len(slots) else slots[batch.scored]  # as in the last layer
            kept, own = buffer[places[places > 0]], out[0, places > 0]
            off.append(float((own - kept).abs().max() / kept.abs().max()))
            return out

        return compute

    buffers = {module: outputs.buffer(module) for module in reusable_linears(causal_model(policy))}
    forwards = {module: compare(module, kept) for module, kept in buffers.items() if kept is not None}
    with reusing(None), forwards_replaced(forwards):
        logps = completion_logprobs(policy, [row], temperature=temperature, layout="packed")
    return max(off), logps.sums, logps.lengths
