"""Models whose computation depends on the length of the longest sequence in a forward.

LongRoPE and dynamic NTK scaling: transformers sets the frequencies of rotary embeddings once per forward, by
the longest sequence in it; under dynamic NTK they even depend on earlier forwards. Sparse attention (Doge,
DeepSeek V3.2): a token attends only to the keys with the highest scores, and which of several keys with equal
scores are taken depends on the number of keys, padding included. A row's log-probabilities would then depend
on the other rows in its forward, by several nats. So rows share a forward only if each of them would be
computed in the same way alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from boresight.data.rows import Row
from boresight.models.policy import Policy, causal_model

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

LENGTH_DEPENDENT = ("dynamic", "longrope")
"""Types of rotary embeddings that depend on the sequence length, under transformers' names."""
KEYS_KEPT = ("keep_window_size", "index_topk")
"""Settings of sparse attention that limit the number of keys to which a token attends."""


@dataclass(frozen=True, slots=True)
class LengthSwitch:
    """A sequence length beyond which a model computes differently than for sequences of up to `limit` tokens.

    `growing` is True if every length beyond the limit is computed differently, and False if all longer
    sequences are computed in the same way.
    """

    limit: int
    growing: bool

    def key(self, tokens: int) -> Hashable:
        """Return a key for a length; sequences with equal keys are computed in the same way."""
        return max(tokens, self.limit) if self.growing else tokens > self.limit


_switches: WeakKeyDictionary[nn.Module, tuple[LengthSwitch, ...]] = WeakKeyDictionary()


def length_switches(model: Policy) -> tuple[LengthSwitch, ...]:
    """Return the lengths at which the model's computation changes; an empty tuple for most models.

    The first call also registers a hook that resets length-dependent state, so that no forward depends on
    earlier ones.
    """
    base = causal_model(model)
    if base not in _switches:
        found = [(module, kind) for module in base.modules() for kind in _kinds(module)]
        rotary = [_switch(module, *kind) for module, kind in found]
        _switches[base] = tuple(dict.fromkeys([*rotary, *_sparse_attention(base)]))
        for module in {module for module, (rope, _) in found if "dynamic" in rope}:
            module.register_forward_pre_hook(_forget)
    return _switches[base]


def forward_keys(model: Policy, lengths: Sequence[int]) -> list[Hashable]:
    """Return a key for each sequence length; sequences with equal keys may share a forward."""
    switches = length_switches(model)
    return [tuple(switch.key(tokens) for switch in switches) for tokens in lengths]


def split_by_length(model: Policy, rows: Sequence[Row]) -> list[tuple[list[int], list[Row]]] | None:
    """Return groups of completions that may share a forward; None if all completions of `rows` may.

    Each group is `(indices, rows)`. The indices count completions through all rows, and each row in the group
    has one completion only.
    """
    if not length_switches(model):
        return None
    alone = [replace(row, completions=(completion,)) for row in rows for completion in row.completions]
    keys = forward_keys(model, [row.tokens for row in alone])
    if len(set(keys)) <= 1:
        return None
    groups: dict[Hashable, tuple[list[int], list[Row]]] = {}
    for place, (key, row) in enumerate(zip(keys, alone, strict=True)):
        places, members = groups.setdefault(key, ([], []))
        places.append(place)
        members.append(row)
    return list(groups.values())


def _sparse_attention(model: PreTrainedModel) -> list[LengthSwitch]:
    config = model.config.get_text_config()
    kept = (getattr(config, name, None) for name in KEYS_KEPT)
    return [LengthSwitch(int(keys), growing=True) for keys in kept if keys]


def _kinds(module: nn.Module) -> list[tuple[str, str | None]]:
    """Return the length-dependent types of a rotary module, each with its kind of layer; None stands for all
    layers."""
    kinds: Any = getattr(module, "rope_type", None)
    by_layer = kinds.items() if isinstance(kinds, dict) else [(None, kinds)]
    return [
        (kind, layer)
        for layer, kind in by_layer
        if isinstance(kind, str) and any(name in kind for name in LENGTH_DEPENDENT)
    ]


def _switch(rotary: Any, kind: str, layer: str | None) -> LengthSwitch:
    if "dynamic" in kind:
        return LengthSwitch(int(rotary.original_max_seq_len), growing=True)
    settings = rotary.config.rope_parameters
    settings = settings if layer is None else settings[layer]
    return LengthSwitch(int(settings["original_max_position_embeddings"]), growing=False)


def _forget(rotary: Any, _: object) -> None:
    """Restore the frequencies of pretraining; the forward then sets others if its sequences are longer."""
    for kind, layer in _kinds(rotary):
        if "dynamic" in kind:
            prefix = "" if layer is None else f"{layer}_"
            frequencies = getattr(rotary, f"{prefix}inv_freq")
            original = getattr(rotary, f"{prefix}original_inv_freq").to(frequencies.device)
            rotary.register_buffer(f"{prefix}inv_freq", original, persistent=False)
            setattr(rotary, f"{prefix}max_seq_len_cached", rotary.original_max_seq_len)
