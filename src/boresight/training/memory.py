"""Free memory, and memory of this process."""

from __future__ import annotations

import resource
from pathlib import Path

from boresight.core.files import read_lines

FLOAT = 4


def available_gb() -> float:
    """Free memory: of the GPU if there is one, else of the machine, within its container's limit."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0] / 1e9
    free = _meminfo("MemAvailable")
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    used = _number(Path("/sys/fs/cgroup/memory.current")) or 0.0
    return min(free, limit - used) / 1e9 if limit else free / 1e9


def held_gb() -> float:
    """Memory of this process, GB: reserved memory of the GPU, else resident memory."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.memory_reserved() / 1e9
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0  # not Linux
    return pages * resource.getpagesize() / 1e9


def _meminfo(field: str) -> float:
    try:
        lines = list(read_lines(Path("/proc/meminfo")))
    except OSError:
        return float("inf")  # not Linux: say nothing rather than something wrong
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith(field)), float("inf"))


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None
