"""Copy tensors from host memory to a device without synchronization.

A copy from pageable memory makes PyTorch wait until everything queued before it is done. A copy from
page-locked memory is queued like a kernel (PyTorch's tutorial "A guide on good usage of non_blocking and
pin_memory()"), and the page-locked block is not reused before the copy is done. So the host packs the next
micro-batch while the device computes the current one; rows in memory need no other asynchronous loading.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_device(values: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """Return `values` on `device`, copied without synchronization; a NumPy array becomes a tensor of the same
    dtype."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def like(values: Tensor, other: Tensor) -> Tensor:
    """Return `values` in the dtype and on the device of `other`."""
    return to_device(values.to(other.dtype), other.device)
