"""Copy from host memory to a device without synchronization.

A copy out of ordinary memory makes PyTorch wait until everything queued before it is done. Out of page-locked
memory it is queued like a kernel (PyTorch's tutorial "A guide on good usage of non_blocking and
pin_memory()"), and the page-locked block is not used again before the copy is done. So the host packs the
next micro-batch while the device computes this one; rows in memory need no other asynchronous loading.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_device(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """`values` on `device`; a NumPy array becomes a tensor of its type."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def like(values: Tensor, other: Tensor) -> Tensor:
    """`values` in the precision and on the device of `other`."""
    return to_device(values.to(other.dtype), other.device)
