"""Evaluation mode, or half precision, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from boresight.models.policy import Policy


@contextmanager
def evaluation_mode(model: Policy) -> Iterator[None]:
    """Inside the block dropout is off; afterwards every module is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def arithmetic(model: Policy, dtype: str) -> AbstractContextManager[Any]:
    """Inside the block `model` computes in `dtype` (`model.dtype` of a recipe); its weights stay float32.

    Policy and reference must compute alike: in bfloat16 an answer of forty tokens comes out a third of a
    nat off its float32 log-probability (SmolLM2-135M), which is not a difference between two models.
    """
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(model.device.type, dtype=getattr(torch, dtype))
