"""AdamW for split weights: each bucket is joined to float32, updated by the library's own AdamW, and split.

The library's update runs on float32 weights with float32 gradients, so weights, optimizer states and
checkpoints are bitwise the same as without splitting. At most one bucket is in float32 at a time, after the
activations have been freed. A larger matrix is updated in pieces, which gives the same result because every
element is updated independently. Matrices with 8-bit moments are updated as a whole, because blocks of 256
moments share a scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from boresight.models.kernels.compact import load_bitsandbytes
from boresight.models.kernels.split_weights import BUCKET, by_bucket, joined_bucket, joined_part, place_of

if TYPE_CHECKING:
    from torch.optim import Optimizer as Stepping
else:
    Stepping = object


MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of the moments in AdamW's state."""
PIECE = BUCKET
"""Maximum number of elements of one parameter that are updated at a time."""


class SplitStep(Stepping):
    """Mixin for optimizers that update each weight separately; its `step` updates one bucket at a time."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        with _gradients_hidden(parameters) as gradients:
            for bucket in by_bucket(parameters):
                if any(p in gradients for p in bucket):
                    self._update(bucket, gradients)
            rest = [p for p in gradients if place_of(p) is None]
            if rest:
                self._step_of(rest, gradients)

    def _update(self, bucket: Sequence[nn.Parameter], gradients: dict[nn.Parameter, Tensor]) -> None:
        with joined_bucket(bucket):
            self._step_of(bucket, gradients)

    def _step_of(self, parameters: Sequence[nn.Parameter], gradients: dict[nn.Parameter, Tensor]) -> None:
        for parameter in parameters:
            parameter.grad = gradients.get(parameter)
        super().step()
        for parameter in parameters:
            parameter.grad = None


@contextmanager
def _gradients_hidden(parameters: Sequence[nn.Parameter]) -> Iterator[dict[nn.Parameter, Tensor]]:
    """Context manager that removes the gradients of all parameters within its block.

    It yields the gradients by parameter, and restores them afterwards.
    """
    gradients = {p: p.grad for p in parameters if p.grad is not None}
    for parameter in gradients:
        parameter.grad = None
    try:
        yield gradients
    finally:
        for parameter, gradient in gradients.items():
            parameter.grad = gradient


class SplitAdamW(SplitStep, torch.optim.AdamW):
    """`torch.optim.AdamW` for split weights."""

    def _update(self, bucket: Sequence[nn.Parameter], gradients: dict[nn.Parameter, Tensor]) -> None:
        first = bucket[0]
        if len(bucket) == 1 and first.numel() > PIECE:
            self._update_in_pieces(first, gradients[first])
        else:
            super()._update(bucket, gradients)

    def _update_in_pieces(self, parameter: nn.Parameter, gradient: Tensor) -> None:
        """Update each piece as if it were the only parameter, with its part of the moments as its state."""
        group = next(g for g in self.param_groups if any(p is parameter for p in g["params"]))
        state, flat = self._state_of(parameter), gradient.reshape(-1)
        moments = {name: state[name].view(-1) for name in MOMENTS}
        together, count = group["params"], state["step"]
        try:
            for start in range(0, parameter.numel(), PIECE):
                part = slice(start, min(start + PIECE, parameter.numel()))
                with joined_part(parameter, part) as numbers:
                    piece = nn.Parameter(numbers)
                    piece.grad, group["params"] = flat[part], [piece]
                    of_piece = {name: values[part] for name, values in moments.items()}
                    self.state[piece] = of_piece | {"step": count.clone()}
                    super(SplitStep, self).step()
                    state["step"] = self.state.pop(piece)["step"]
        finally:
            group["params"] = together

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Return the parameter's state, created at the first step as the library's AdamW creates it."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            for name in MOMENTS:
                state[name] = torch.zeros_like(parameter, dtype=torch.float32)
        return state


def split_adamw_8bit(groups: Sequence[dict[str, Any]], **settings: Any) -> torch.optim.Optimizer:
    """Create AdamW with moments in 8 bits for split weights.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    library = load_bitsandbytes("optim.states: 8bit").optim

    class SplitAdamW8bit(SplitStep, library.AdamW8bit):  # type: ignore[name-defined]
        """bitsandbytes' AdamW8bit for split weights; its base class must be imported first."""

    optimizer: torch.optim.Optimizer = SplitAdamW8bit(groups, **settings)
    return optimizer
