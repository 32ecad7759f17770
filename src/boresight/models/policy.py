"""The interface of a language model that this package uses."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
from typing import TYPE_CHECKING, Protocol, Self, cast

from boresight.data.stop_tokens import GenerativeModel

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedConfig, PreTrainedModel


class Outputs(Protocol):
    """Result of a forward; `logits` is `(batch, tokens, vocabulary)`, or `(batch, 1)` of a reward model."""

    logits: Tensor


class Policy(GenerativeModel, Protocol):
    """A language model or a reward model: a `PreTrainedModel` of transformers, or PEFT's wrapper around one.

    It is a protocol, because PEFT's wrapper forwards the attributes of the wrapped model only at run time,
    which type checkers cannot follow. `causal_model(policy)` gives access to all other attributes.
    """

    training: bool

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def __call__(self, **inputs: object) -> Outputs: ...

    def train(self, mode: bool = True) -> Self: ...

    def eval(self) -> Self: ...

    def requires_grad_(self, requires_grad: bool = True) -> Self: ...

    def modules(self) -> Iterator[nn.Module]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


def causal_model(policy: Policy) -> PreTrainedModel:
    """Return the transformers model inside a PEFT wrapper, with its adapters attached, or the model
    itself."""
    return cast("PreTrainedModel", policy.get_base_model() if hasattr(policy, "get_base_model") else policy)


def arithmetic_of(policy: Policy) -> torch.dtype:
    """Return the dtype in which matrix products are computed now: autocast's if it is enabled, else the
    weights'."""
    import torch

    from boresight.models.kernels.compact import dtype_of_products

    device = policy.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return dtype_of_products(causal_model(policy)) or policy.dtype


def key_widths(config: PreTrainedConfig) -> list[int]:
    """Return the number of elements of one token's keys in each layer.

    For a layer without attention heads, it is the width of the hidden states.
    """
    return [_key_width(layer) for layer in config.get_text_config().per_layer_config]


def _key_width(layer: PreTrainedConfig) -> int:
    """Return the number of elements of one token's keys in one layer; in Gemma 4, layers differ in the width
    of a head."""
    heads = getattr(layer, "num_attention_heads", None) or 1
    groups = getattr(layer, "num_key_value_heads", None) or heads
    return int(groups * (getattr(layer, "head_dim", None) or layer.hidden_size // heads))


def longest_sequence(policy: Policy) -> int:
    """Return the maximum sequence length of the model, in tokens; 2³¹ if its config does not limit it."""
    config = policy.config.get_text_config()
    named = (
        getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len")
    )  # the latter is MPT's
    return int(next((length for length in named if length and length > 0), 2**31))


def last_logits(policy: Policy, ids: Tensor, count: int) -> Tensor:
    """Return the logits at the last `count` positions of one sequence, `(count, vocabulary)`.

    `ids` has shape `(tokens,)`.
    """
    takes = signature(causal_model(policy).forward).parameters
    keep = {"logits_to_keep": count} if "logits_to_keep" in takes else {}  # other models compute all logits
    return policy(input_ids=ids[None], use_cache=False, **keep).logits[0, -count:]


def cache_argument(model: PreTrainedModel) -> str:
    """Return the name of the argument of `forward` for cached keys and values, which transformers 5.24
    renamed."""
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"


def narrowest_window(config: PreTrainedConfig) -> int | None:
    """Return the size of the layers' attention window, in tokens; None if no layer has a window."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and "sliding_attention" not in kinds:
        return None
    return getattr(config, "sliding_window", None)
