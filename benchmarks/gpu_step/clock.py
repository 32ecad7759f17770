"""Time of the steps after the first few, with the device waited for at both ends and never in between."""

from __future__ import annotations

import sys
import time

import torch


class Clock:
    """`step_done(n)` is to be called after each step; the steps up to `warm` compile and are left out."""

    def __init__(self, device: str, warm: int, steps: int) -> None:
        self.device, self.warm, self.steps = device, warm, steps
        self.began = self.ended = float("nan")

    def step_done(self, step: int) -> None:
        if step == self.warm:
            self.began = self._now()
        elif step == self.steps:
            self.ended = self._now()

    @property
    def seconds(self) -> float:
        """Mean seconds of a step."""
        return (self.ended - self.began) / (self.steps - self.warm)

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def peak_gb(device: str) -> float:
    """Peak memory, GB: what torch's allocator held of the device, or the process of the machine."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9
