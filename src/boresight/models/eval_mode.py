"""Context managers for evaluation mode and for the precision in which a run computes."""

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
    """Inside the block the model is in evaluation mode, without dropout; afterwards all former modes are
    restored."""
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
    """Inside the block, `model` computes in `dtype` (`model.dtype` of a recipe); its weights do not change.

    Policy and reference must be computed in the same way: in bfloat16, the log-probability of an answer of
    forty tokens deviates by a third of a nat from its float32 value (SmolLM2-135M), which is not a difference
    between two models. On a GPU, rounding also depends on the number of tokens per forward, so forwards are
    padded to `tokens_per_forward`, a half or a quarter of it. Rounding depends on the kernels too.

    Args:
        dtype: precision of the products, or `auto`.
        tokens_per_forward: `tokens_per_forward` of a recipe; None for forwards without padding.
        kernels: `model.kernels` of a recipe.

    Raises:
        UserError: the device has no `fast` kernels for this precision.
    """
    dtype, device = resolve_dtype(dtype, model.device), model.device.type
    refuse_missing_kernels(kernels, model.device, dtype)
    # Autocast caches its copies of the weights until the block ends. Activation checkpointing makes its own.
    keep = not getattr(causal_model(model).base_model, "gradient_checkpointing", False)
    half = (
        nullcontext()
        if dtype == "float32" or is_split(causal_model(model))  # split weights are bfloat16 already
        else torch.autocast(device, getattr(torch, dtype), cache_enabled=keep)
    )
    with half, filled_forwards(tokens_per_forward), kernels_of_run(kernels):
        yield
