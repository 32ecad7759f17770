"""Capture decoding steps as CUDA graphs; no other file in this folder calls CUDA."""

from __future__ import annotations

from collections.abc import Callable

import torch

Step = Callable[[], None]
Capture = Callable[[Step], Step]
"""Function that records a step without running it, and returns a function that runs it."""


def capture_of(device: torch.device) -> Capture:
    """Return a function that captures CUDA graphs on a GPU; elsewhere it returns the step itself
    unchanged."""
    return _GraphCapture(device) if device.type == "cuda" else _uncaptured


def _uncaptured(step: Step) -> Step:
    return step


class _GraphCapture:
    """Capture graphs that share one pool of memory for intermediate results.

    They can share it, since they run one after the other and write their results to buffers outside of it. By
    default, torch captures on the current device, with a stream of the device where the process captured
    first; so device and stream are passed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        """Record the kernels that `step` launches, without running them; they must have run once before."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            step()
        replay: Step = graph.replay
        return replay
