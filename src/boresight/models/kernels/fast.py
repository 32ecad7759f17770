"""Select the kernels of a run (`model.kernels` of a recipe): `proven`, or `fast` ones, which need a GPU.

`fast` is an explicit choice: a model or setting that it does not support is refused with the reason, without
a silent fallback to `proven`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from boresight.core.errors import UserError

FLASH_CAPABILITY = (8, 0)
"""Minimum compute capability for torch's flash attention: Ampere."""
FLASH_DTYPES = ("bfloat16", "float16")
"""Precisions that torch's flash attention supports."""

_chosen: ContextVar[str] = ContextVar("kernels of the run", default="proven")


@contextmanager
def kernels_of_run(kernels: str) -> Iterator[None]:
    """Inside the block, rows are packed for `kernels`, which is `proven` or `fast`; the default is
    `proven`."""
    before = _chosen.set(kernels)
    try:
        yield
    finally:
        _chosen.reset(before)


def fast_kernels() -> bool:
    """Whether the surrounding `kernels_of_run` block chose `fast`."""
    return _chosen.get() == "fast"


def refuse_missing_kernels(kernels: str, device: torch.device, dtype: str) -> None:
    """Raise a `UserError` if `kernels` is `fast` and `device` has no fast kernels for computations in
    `dtype`.

    `dtype` is `float32`, `bfloat16` or `float16`: `model.dtype` as `resolve_dtype` returns it.
    """
    if kernels == "fast" and (obstacle := device_obstacle(device, dtype)):
        raise fast_kernels_error(obstacle)


def device_obstacle(device: torch.device, dtype: str) -> str | None:
    """Return the reason why `device`, or this torch, has no fast kernels for `dtype`, as text; None if it has
    them."""
    if device.type != "cuda":
        return f"the device is {device.type}, and they need CUDA"
    if dtype not in FLASH_DTYPES:
        return f"the run computes in {dtype}, and they need bfloat16 or float16"
    if (capability := torch.cuda.get_device_capability(device)) < FLASH_CAPABILITY:
        needed, found = (".".join(map(str, pair)) for pair in (FLASH_CAPABILITY, capability))
        return f"the GPU has compute capability {found}, and they need {needed}"
    if not torch.backends.cuda.is_flash_attention_available():
        return f"torch {torch.__version__} was built without flash attention"
    return None


def fast_kernels_error(obstacle: str) -> UserError:
    """Return the error for a run that cannot use fast kernels, for the reason `obstacle`."""
    return UserError(f"model.kernels: fast kernels cannot be used: {obstacle}; set model.kernels=proven.")
