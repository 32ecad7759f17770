"""Capture of decode steps as CUDA graphs; the only calls of CUDA in this folder."""

from __future__ import annotations

from collections.abc import Callable

import torch

Step = Callable[[], None]
Capture = Callable[[Step], Step]
"""Records a step without running it, and returns a function that runs it."""


def capture_of(device: torch.device) -> Capture:
    """Capture by CUDA graphs on a GPU; elsewhere the step itself is returned, which runs operation by
    operation."""
    return _GraphCapture(device) if device.type == "cuda" else _uncaptured


def _uncaptured(step: Step) -> Step:
    return step


class _GraphCapture:
    """Graphs that share one pool of memory for what is computed within a step.

    They may, since they run one after the other and leave their results in buffers outside of it. torch
    captures on the current device, by a stream of the device where the process captured first, unless it is
    given others.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        """The kernels that `step` launches, recorded and not run; they must have run once before."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            step()
        replay: Step = graph.replay
        return replay
