"""AdamW on split weights: each bucket is joined to float32, updated by the library's own AdamW, and split.

The update is the library's, of float32 weights with float32 gradients, so weights, states and checkpoints are
identical to the last bit. At most one bucket, or the largest matrix, is in float32 at a time, when
activations have been freed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from boresight.models.kernels.compact import load_bitsandbytes
from boresight.models.kernels.split_weights import by_bucket, joined_bucket, place_of

if TYPE_CHECKING:
    from torch.optim import Optimizer as Stepping
else:
    Stepping = object


class SplitStep(Stepping):
    """Mixin for optimizers that update each weight separately: its `step` runs bucket by bucket."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        with _gradients_hidden(parameters) as gradients:
            for bucket in by_bucket(parameters):
                if any(p in gradients for p in bucket):
                    with joined_bucket(bucket):
                        self._step_of(bucket, gradients)
            rest = [p for p in gradients if place_of(p) is None]
            if rest:
                self._step_of(rest, gradients)

    def _step_of(self, parameters: Sequence[nn.Parameter], gradients: dict[nn.Parameter, Tensor]) -> None:
        for parameter in parameters:
            parameter.grad = gradients.get(parameter)
        super().step()
        for parameter in parameters:
            parameter.grad = None


@contextmanager
def _gradients_hidden(parameters: Sequence[nn.Parameter]) -> Iterator[dict[nn.Parameter, Tensor]]:
    """Inside the block no parameter has a gradient; yields those that they had and have again after it."""
    gradients = {p: p.grad for p in parameters if p.grad is not None}
    for parameter in gradients:
        parameter.grad = None
    try:
        yield gradients
    finally:
        for parameter, gradient in gradients.items():
            parameter.grad = gradient


class SplitAdamW(SplitStep, torch.optim.AdamW):
    """`torch.optim.AdamW` on split weights."""


def split_adamw_8bit(groups: Sequence[dict[str, Any]], **settings: Any) -> torch.optim.Optimizer:
    """AdamW with moments in 8 bits on split weights. Raises `UserError` where bitsandbytes is missing."""
    library = load_bitsandbytes("optim.states: 8bit").optim

    class SplitAdamW8bit(SplitStep, library.AdamW8bit):  # type: ignore[name-defined]
        """bitsandbytes' own, which is known once it is imported."""

    optimizer: torch.optim.Optimizer = SplitAdamW8bit(groups, **settings)
    return optimizer
