"""Shard the weights of a model over processes (FSDP2, `fully_shard`), for models that do not fit on one
device.

Each process keeps a part of every weight, of its gradient and of the optimizer's moments. The weights of a
layer are gathered for its forward and its backward and freed after each; gradients are reduce-scattered. So
all processes must run the same number of forwards and backwards. Inside `whole`, which is used for sampling
and evaluation, each process may run any number of forwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn

from boresight.models.packed.plan import find_plan_now
from boresight.models.policy import Policy, causal_model

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule

ForwardOutputs = tuple[Any, ...]
"""Outputs of a forward; each is a tensor or None."""


class Sharded(Protocol):
    """Interface of a sharded model: the method that `shard` adds."""

    as_forward: Callable[[Callable[[], ForwardOutputs]], ForwardOutputs]


def fits(policy: Policy) -> bool:
    """Whether weights, gradients and Adam's moments need less than two thirds of the device's memory.

    The rest is for activations. Always True on a CPU, since all processes share its memory.
    """
    if policy.device.type != "cuda":
        return True
    held = [(p.numel() * p.element_size(), p.requires_grad) for p in policy.parameters()]
    needed = sum(size * (4 if trained else 1) for size, trained in held)
    return needed < 2 / 3 * torch.cuda.mem_get_info(policy.device)[1]


def shard(policy: Policy) -> None:
    """Shard the weights of `policy` layer by layer, in place; the weights must be the same in every
    process."""
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    find_plan_now(policy)  # finding the layout runs the whole model
    base = causal_model(policy)
    classes = set(base._no_split_modules or ())
    layers = [module for module in base.modules() if type(module).__name__ in classes]
    for module in [*layers, base]:
        # Also for the root: a forward without a backward would leave it gathered, and stale after an update.
        fully_shard(module, reshard_after_forward=True)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)  # sums gradients; the training loop divides by the weight
        module.set_force_sum_reduction_for_comms(True)  # gloo has no scaled sum
    cast("Sharded", base).as_forward = _call
    register_fsdp_forward_method(base, "as_forward")


def _call(compute: Callable[[], ForwardOutputs]) -> ForwardOutputs:
    """Run `compute` and clone its outputs: FSDP attaches its backward to the outputs, which must not be
    views."""
    return tuple(None if output is None else output.clone() for output in compute())


def is_sharded(model: Policy) -> bool:
    """Whether `shard` was called on the model."""
    return hasattr(causal_model(model), "as_forward")


def as_forward(model: Policy, compute: Callable[[], ForwardOutputs]) -> ForwardOutputs:
    """Run `compute`, which calls parts of `model`, as one forward of it.

    Without it, code outside the model's own forward, such as this package's output head, would read sharded
    weights.
    """
    base = causal_model(model)
    return cast("Sharded", base).as_forward(compute) if is_sharded(model) else compute()


@contextmanager
def whole(model: Policy) -> Iterator[None]:
    """Inside the block every process has all weights, and forwards need no communication.

    All processes must enter it together. Does nothing for a model that is not sharded.
    """
    if not is_sharded(model):
        yield
        return
    root, *layers = _parts(causal_model(model))
    root.set_reshard_after_forward(False)
    for part in (root, *layers):
        part.unshard()
    try:
        yield
    finally:
        for part in (root, *layers):
            part.reshard()
        root.set_reshard_after_forward(True)


def whole_weights(model: Policy) -> dict[str, Tensor]:
    """Return every weight of a model inside `whole`, by name, on the CPU: the state dictionary to save."""
    return {name: parameter.detach().cpu() for name, parameter in model.named_parameters()}


def _parts(base: nn.Module) -> list[FSDPModule]:
    """Return the modules that are sharded, the model itself first."""
    from torch.distributed.fsdp import FSDPModule

    return [module for module in base.modules() if isinstance(module, FSDPModule)]
