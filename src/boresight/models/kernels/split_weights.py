"""Store trained weights in two halves (`split_bits`): parameters are the first halves, buckets contain both.

    split_weights(model)                 parameters become bfloat16; their gradients are summed in float32
    for bucket in by_bucket(parameters):
        with joined_bucket(bucket):      for an optimizer: parameters are float32, and split again afterwards
            ...
    with joined_part(parameter, part):   for an optimizer: some entries of a large parameter in float32
        ...
    with master_weights(model):          for saving and loading: all parameters are float32, on the CPU
        ...

A bucket is storage that parameters share, so that one pass joins many small ones. A copy of a parameter is a
plain bfloat16 tensor, as a frozen reference model needs it.

Forwards do not read the second halves, so these may be in host memory: an update copies those of a bucket to
the device and back.
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
"""Maximum number of weights in a bucket, unless one parameter has more; joined, they take 64 MB."""
ALIGNED = 128
"""Every parameter begins at a multiple of this number of entries (256 bytes), where tensor cores read
fastest."""
PLAIN = (nn.Linear, nn.Embedding, nn.LayerNorm)
_PLACE = "_split_place"


@dataclass(frozen=True, slots=True)
class SplitPlace:
    """Position of a parameter in a bucket.

    `high` and `low` are both halves of all weights in the bucket, `(n,)`, and `start` is the index of the
    parameter's first entry in them.
    """

    high: Tensor
    low: Tensor
    start: int
    staged: bool = False
    """Whether `low` is in host memory; it is then copied to the device of `high` for joining."""

    def view(self, flat: Tensor, shape: torch.Size) -> Tensor:
        """Return a view of the parameter's entries in a flat tensor of the bucket's size, with the given
        shape."""
        return flat[self.start : self.start + shape.numel()].view(shape)


def split_obstacle(model: nn.Module) -> str | None:
    """Return the reason why the weights of `model` cannot be split, as text; None if they can.

    A forward in bfloat16 without autocast needs layers that compute in the precision of their weights and
    keep sums in float32: linear layers, embeddings and norms. Other layers may need float32 weights.
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


def split_weights(model: nn.Module, bucket: int = BUCKET, *, low_on_host: bool = False) -> None:
    """Store the parameters of `model` in halves, in place and on their device; do not move the model
    afterwards.

    Args:
        bucket: maximum number of entries that share storage, unless one parameter has more.
        low_on_host: store the second halves in host memory, pinned if the model is on a GPU.

    Raises:
        UserError: the weights cannot be split, for the reason that `split_obstacle` returns.
    """
    if obstacle := split_obstacle(model):
        raise UserError(f"model: the weights of {type(model).__name__} cannot be split: {obstacle}.")
    waiting: list[nn.Parameter] = []
    for parameter in model.parameters():
        if waiting and sum(map(_padded, [*waiting, parameter])) > bucket:
            _split_together(waiting, low_on_host)
            waiting = []
        waiting.append(parameter)
    if waiting:
        _split_together(waiting, low_on_host)


def _padded(parameter: nn.Parameter) -> int:
    return -(-parameter.numel() // ALIGNED) * ALIGNED


def _split_together(parameters: Sequence[nn.Parameter], low_on_host: bool) -> None:
    size, device = sum(map(_padded, parameters)), parameters[0].device
    high = torch.zeros(size, dtype=torch.bfloat16, device=device)
    pinned = low_on_host and device.type == "cuda"
    low = torch.zeros(size, dtype=torch.int16, device="cpu" if low_on_host else device, pin_memory=pinned)
    start = 0
    for parameter in parameters:
        place = SplitPlace(high, low, start, low_on_host)
        _put_back(parameter.data.reshape(-1), place, slice(start, start + parameter.numel()))
        parameter.data = place.view(high, parameter.shape)
        parameter.grad_dtype = torch.float32
        setattr(parameter, _PLACE, place)
        start += _padded(parameter)


def _join(place: SplitPlace, part: slice) -> Tensor:
    """Join both halves of the entries `part` of a bucket into float32, on the device of `place.high`.

    The result is one-dimensional, with a value per entry in `part`.
    """
    high, low = place.high[part], place.low[part]
    if place.staged:
        low = torch.empty_like(low, device=high.device).copy_(low, non_blocking=True)
    numbers = torch.empty(high.shape, dtype=torch.float32, device=high.device)
    join_into(numbers, high, low)
    return numbers


def _put_back(numbers: Tensor, place: SplitPlace, part: slice) -> None:
    """Split `numbers` into the entries `part` of a bucket; waits for the copy of second halves to the
    host."""
    high, low = place.high[part], place.low[part]
    here = torch.empty_like(low, device=high.device) if place.staged else low
    split_into(numbers, high, here)
    if place.staged:
        low.copy_(here)


def place_of(parameter: Tensor) -> SplitPlace | None:
    """Return the position of a split parameter in its bucket; None for any other tensor.

    Raises:
        RuntimeError: the parameter was moved after it was split, and its second half was not.
    """
    place: SplitPlace | None = getattr(parameter, _PLACE, None)
    if place is not None and parameter.dtype == torch.bfloat16:
        first = place.high.data_ptr() + place.start * place.high.element_size()
        if parameter.data_ptr() != first:
            raise RuntimeError("a parameter was moved after split_weights; move the model before")
    return place


def is_split(model: nn.Module) -> bool:
    """Whether `model` has weights that are split into halves."""
    return any(hasattr(parameter, _PLACE) for parameter in model.parameters())


def by_bucket(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Return the split parameters among `parameters`, grouped by bucket."""
    found: dict[int, list[nn.Parameter]] = {}
    for parameter in parameters:
        if place := place_of(parameter):
            found.setdefault(id(place.high), []).append(parameter)
    return list(found.values())


def low_bits(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Return the second halves of all buckets of `parameters`, int16, each `(n,)`."""
    places = [place_of(bucket[0]) for bucket in by_bucket(parameters)]
    return [place.low for place in places if place is not None]


@contextmanager
def joined_bucket(
    bucket: Sequence[nn.Parameter], device: torch.device | None = None, *, write: bool = True
) -> Iterator[None]:
    """Inside the block, the parameters of one bucket are float32, on `device` or else on their own device.

    Args:
        write: split the parameters again after the block, with their changes, unless it raised an exception.
    """
    places = {parameter: place for parameter in bucket if (place := place_of(parameter))}
    first, everything = next(iter(places.values())), slice(None)
    high = first.high
    whole = _join(first, everything).to(device or high.device)
    for parameter, place in places.items():
        parameter.data = place.view(whole, parameter.shape)
    try:
        yield
        if write:
            _put_back(whole.to(high.device), first, everything)
    finally:
        for parameter, place in places.items():
            parameter.data = place.view(high, parameter.shape)


@contextmanager
def joined_part(parameter: nn.Parameter, part: slice) -> Iterator[Tensor]:
    """Yield the entries `part` of a split parameter as float32 `(n,)`; split them again unless the block
    raises."""
    place = place_of(parameter)
    assert place is not None, "the parameter is not split"
    within = slice(place.start + part.start, place.start + part.stop)
    numbers = _join(place, within)
    yield numbers
    _put_back(numbers, place, within)


@contextmanager
def master_weights(model: nn.Module, *, write: bool = False) -> Iterator[None]:
    """Inside the block, the weights of a split `model` are float32 and on the CPU; does nothing for other
    models.

    Args:
        write: keep changes that are made in the block.
    """
    with ExitStack() as stack:
        for bucket in by_bucket(model.parameters()):
            stack.enter_context(joined_bucket(bucket, torch.device("cpu"), write=write))
        yield
