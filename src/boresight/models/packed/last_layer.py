"""Compute the last layer of a decoder only at the positions that are scored.

Other positions are needed only for the keys and values of the last layer's attention. So their queries,
output projection, MLP and final norm are not computed, forward or backward. The results consist of the same
sums of the same products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from boresight.models.kernels.linear import forwards_replaced
from boresight.models.packed.packing import fills

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAYERS = ("layers", "h")
ATTENTION = ("self_attn", "attention", "attn")
QUERIES = ("q_proj",)
"""Names of query projections. Layers that also compute keys and values are not listed: these are needed at
all positions."""
OUTPUT = ("o_proj", "out_proj", "dense", "c_proj")
MLP = ("mlp",)
NORM = ("norm", "final_layernorm", "final_layer_norm", "ln_f")
"""Names of layers, attention, output projection, MLP and final norm, above and here, in transformers'
models."""


@dataclass(frozen=True, slots=True)
class LastLayer:
    """Modules that compute each position independently: `inside` the last layer, and the final `norm`."""

    inside: tuple[nn.Module, ...]
    norm: nn.Module

    @classmethod
    def of(cls, model: PreTrainedModel) -> LastLayer | None:
        """Return the modules of `model`, a causal model or a reward model; None if they are not
        recognized."""
        layers, norm = layers_of(model), _child(_decoder(model), NORM)
        if norm is None or layers is None:
            return None
        attention, mlp = _child(layers[-1], ATTENTION), _child(layers[-1], MLP)
        output = attention and _child(attention, OUTPUT)
        if attention is None or output is None or mlp is None:
            return None
        queries = _child(attention, QUERIES)
        return cls((output, mlp) if queries is None else (queries, output, mlp), norm)


def applies(model: PreTrainedModel, positions: Tensor) -> bool:
    """Whether a forward of `model` may compute its last layer only at `positions`.

    False on a GPU, where the rounding of products depends on their shape, which here would depend on the
    number of scored positions. False with activation checkpointing, which recomputes layers after the
    forward, when their modules have been restored.
    """
    recomputed = getattr(model.base_model, "gradient_checkpointing", False)
    return len(positions) > 0 and not fills(positions.device) and not recomputed


@contextmanager
def last_layer_at(last: LastLayer, positions: Tensor) -> Iterator[None]:
    """Inside the block, a decoder returns its hidden states only at `positions`, `(1, S, width)`.

    `positions` `(S,)` must be distinct. Dropout inside the modules draws random numbers for these positions
    only.
    """
    inside = {module: _in_place(module.forward, positions) for module in last.inside}
    with forwards_replaced({**inside, last.norm: _only(last.norm.forward, positions)}):
        yield


def _only(forward: Callable[..., Tensor], positions: Tensor) -> Callable[..., Tensor]:
    """Return a forward that, for an input `(1, T, width)`, returns the results at `positions` only."""
    return lambda x, *args, **kwargs: forward(x.index_select(1, positions), *args, **kwargs)


def _in_place(forward: Callable[..., Tensor], positions: Tensor) -> Callable[..., Tensor]:
    """Return a forward that computes the results at `positions` and returns zeros elsewhere,
    `(1, T, out)`."""
    compute = _only(forward, positions)

    def spread(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        some = compute(x, *args, **kwargs)
        return some.new_zeros(1, x.shape[1], some.shape[-1]).index_copy_(1, positions, some)

    return spread


def layers_of(model: PreTrainedModel) -> nn.ModuleList | None:
    """Return the layers of `model`, a causal model or a reward model; None if they are not recognized."""
    layers = _child(_decoder(model), LAYERS)
    return layers if isinstance(layers, nn.ModuleList) and len(layers) else None


def _decoder(model: PreTrainedModel) -> nn.Module:
    decoder: nn.Module = cast("PreTrainedModel", model.base_model).get_decoder()
    return decoder


def _child(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    """Return the child of `module` with the first of `names` that exists, or None."""
    return next((found for name in names if (found := module._modules.get(name)) is not None), None)
