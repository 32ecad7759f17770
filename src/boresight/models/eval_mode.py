"""Context managers for evaluation mode and for the precision of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from boresight.models.kernels.fast import kernels_of_run, refuse_missing_kernels
from boresight.models.kernels.split_weights import is_split
from boresight.models.packed.packing import filled_forwards
from boresight.models.policy import Policy, causal_model
from boresight.models.precision import resolve_dtype


@contextmanager
def evaluation_mode(model: Policy) -> Iterator[None]:
    """Inside the block dropout is off; afterwards every module has its former mode."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def arithmetic(
    model: Policy, dtype: str, tokens_per_forward: int | None = None, kernels: str = "proven"
) -> Iterator[None]:
    """Inside the block `model` computes in `dtype` (`model.dtype` of a recipe); its weights stay as they are.

    Policy and reference must compute alike: in bfloat16 an answer of forty tokens deviates by a third of a
    nat from its float32 log-probability (SmolLM2-135M), which is not a difference between two models. On a
    GPU rounding also depends on the length of a forward, so forwards are padded to one of a few lengths:
    `tokens_per_forward` of a recipe, a half or a quarter of it. Rounding depends on the `kernels` too
    (`model.kernels`).

    Raises:
        UserError: the device has no `fast` kernels for this precision.
    """
    dtype, device = resolve_dtype(dtype, model.device), model.device.type
    refuse_missing_kernels(kernels, model.device, dtype)
    # Autocast keeps its copies of the weights until the block ends. Recomputation makes its own.
    keep = not getattr(causal_model(model).base_model, "gradient_checkpointing", False)
    half = (
        nullcontext()
        if dtype == "float32" or is_split(causal_model(model))  # which are bfloat16 themselves
        else torch.autocast(device, getattr(torch, dtype), cache_enabled=keep)
    )
    with half, filled_forwards(tokens_per_forward), kernels_of_run(kernels):
        yield
