"""Trained weights in two halves (`split_bits`): the parameters are the first halves, buckets store both.

    split_weights(model)                 parameters become bfloat16; their gradients are summed in float32
    for bucket in by_bucket(parameters):
        with joined_bucket(bucket):      for an optimizer: these parameters are float32, and split after it
            ...
    with master_weights(model):          for saving and loading: all of them are float32, on the CPU
        ...

A bucket is storage shared by several parameters, so that one pass joins many small ones. A copy of a
parameter contains only the bfloat16 half, which suffices for a frozen reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from boresight.core.errors import UserError
from boresight.models.kernels.split_bits import join_into, split_into

BUCKET = 1 << 24
"""Weights of a bucket, unless one parameter has more: 64 MB while they are joined."""
ALIGNED = 128
"""Every parameter begins at a multiple of this many entries, 256 bytes, where tensor cores read fastest."""
PLAIN = (nn.Linear, nn.Embedding, nn.LayerNorm)
_PLACE = "_split_place"


@dataclass(frozen=True, slots=True)
class SplitPlace:
    """Position of a parameter: both halves of its bucket, `(n,)`, and the index of its first entry in
    them."""

    high: Tensor
    low: Tensor
    start: int

    def view(self, flat: Tensor, shape: torch.Size) -> Tensor:
        """View of a parameter's entries, of shape `shape`, in a flat tensor of the bucket's size."""
        return flat[self.start : self.start + shape.numel()].view(shape)


def split_obstacle(model: nn.Module) -> str | None:
    """The reason why the weights of `model` cannot be split, as text; None if they can.

    Without autocast a forward in bfloat16 needs layers that compute in the precision of their weights and
    keep sums in float32 by themselves: linear layers, embeddings and norms. Others may need float32 weights.
    """
    if not hasattr(torch.Tensor, "grad_dtype"):
        return "torch is older than 2.10, which sums gradients in the precision of the weights"
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            name = type(module).__name__
            if type(module) not in PLAIN and not name.endswith("RMSNorm") and name != "Conv1D":
                return f"a {name} may need weights in float32"
            if not parameter.requires_grad or parameter.dtype != torch.float32:
                return "not all of its weights are trained in float32"
    return None


def split_weights(model: nn.Module, bucket: int = BUCKET) -> None:
    """Store the parameters of `model` in halves, in place, on their device; they must not be moved later.

    Args:
        bucket: entries per bucket, unless one parameter has more.

    Raises:
        UserError: the weights cannot be split, with the reason that `split_obstacle` returns.
    """
    if obstacle := split_obstacle(model):
        raise UserError(f"model: the weights of {type(model).__name__} cannot be split: {obstacle}.")
    waiting: list[nn.Parameter] = []
    for parameter in model.parameters():
        if waiting and sum(map(_padded, [*waiting, parameter])) > bucket:
            _split_together(waiting)
            waiting = []
        waiting.append(parameter)
    if waiting:
        _split_together(waiting)


def _padded(parameter: nn.Parameter) -> int:
    return -(-parameter.numel() // ALIGNED) * ALIGNED


def _split_together(parameters: Sequence[nn.Parameter]) -> None:
    size, device = sum(map(_padded, parameters)), parameters[0].device
    high = torch.zeros(size, dtype=torch.bfloat16, device=device)
    low = torch.zeros(size, dtype=torch.int16, device=device)
    start = 0
    for parameter in parameters:
        part = slice(start, start + parameter.numel())
        split_into(parameter.data.reshape(-1), high[part], low[part])
        place = SplitPlace(high, low, start)
        parameter.data = place.view(high, parameter.shape)
        parameter.grad_dtype = torch.float32
        setattr(parameter, _PLACE, place)
        start += _padded(parameter)


def place_of(parameter: Tensor) -> SplitPlace | None:
    """Where a split parameter is; None for any other tensor.

    Raises:
        RuntimeError: it was moved after it was split, and its other half was not.
    """
    place: SplitPlace | None = getattr(parameter, _PLACE, None)
    if place is not None and parameter.dtype == torch.bfloat16:
        first = place.high.data_ptr() + place.start * place.high.element_size()
        if parameter.data_ptr() != first:
            raise RuntimeError("a parameter was moved after split_weights; move the model before")
    return place


def is_split(model: nn.Module) -> bool:
    """Whether the weights of `model` are in halves."""
    return any(hasattr(parameter, _PLACE) for parameter in model.parameters())


def by_bucket(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The split ones among `parameters`, those of one bucket together."""
    found: dict[int, list[nn.Parameter]] = {}
    for parameter in parameters:
        if place := place_of(parameter):
            found.setdefault(id(place.high), []).append(parameter)
    return list(found.values())


def low_bits(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The second halves of all buckets of `parameters`, int16, each `(n,)`."""
    places = [place_of(bucket[0]) for bucket in by_bucket(parameters)]
    return [place.low for place in places if place is not None]


@contextmanager
def joined_bucket(
    bucket: Sequence[nn.Parameter], device: torch.device | None = None, *, write: bool = True
) -> Iterator[None]:
    """Inside the block the parameters of one bucket are float32, on `device`, or on their own device.

    With `write` they are split again after it, unless it raised.
    """
    places = {parameter: place for parameter in bucket if (place := place_of(parameter))}
    high, low = next((place.high, place.low) for place in places.values())
    whole = torch.empty(high.shape, dtype=torch.float32, device=high.device)
    join_into(whole, high, low)
    whole = whole.to(device or high.device)
    for parameter, place in places.items():
        parameter.data = place.view(whole, parameter.shape)
    try:
        yield
        if write:
            split_into(whole.to(high.device), high, low)
    finally:
        for parameter, place in places.items():
            parameter.data = place.view(high, parameter.shape)


@contextmanager
def master_weights(model: nn.Module, *, write: bool = False) -> Iterator[None]:
    """Inside the block the weights of `model` are float32, on the CPU, if they are split.

    With `write` changes made in the block are kept.
    """
    with ExitStack() as stack:
        for bucket in by_bucket(model.parameters()):
            stack.enter_context(joined_bucket(bucket, torch.device("cpu"), write=write))
        yield
