"""Measure the free memory of a device, and the memory of this process on it."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from boresight.core.files import read_lines
from boresight.models.kernels.allocator import free_gpu_bytes

if TYPE_CHECKING:
    import torch

FLOAT = 4


def available_gb(device: torch.device) -> float:
    """Return the free memory of a GPU, else of the machine within its container's limit, in GB."""
    if device.type == "cuda":
        return free_gpu_bytes(device) / 1e9
    free = _meminfo("MemAvailable")
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    used = _number(Path("/sys/fs/cgroup/memory.current")) or 0.0
    return min(free, limit - used) / 1e9 if limit else free / 1e9


def held_gb(device: torch.device) -> float:
    """Return the memory of this process in GB: that of tensors on a GPU, else resident memory."""
    import torch

    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 1e9
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0  # not Linux
    return pages * resource.getpagesize() / 1e9


def peak_memory_gb(device: torch.device) -> float:
    """Return the peak memory of this process in GB: that of tensors on a GPU, else resident memory."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9


def _meminfo(field: str) -> float:
    try:
        lines = list(read_lines(Path("/proc/meminfo")))
    except OSError:
        return float("inf")  # not Linux: unknown, so no limit
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith(field)), float("inf"))


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
