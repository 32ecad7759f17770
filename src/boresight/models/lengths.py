"""Models whose computation changes with the length of the longest sequence in a forward.

LongRoPE and dynamic NTK scaling: transformers sets the frequencies of rotary embeddings once per forward, by
the longest sequence in it; under dynamic NTK they even depend on earlier forwards. Sparse attention (Doge,
DeepSeek V3.2): the best few of many keys are taken, and which of equal ones depends on how many there are,
padding included. A row's log-probabilities would then depend on the rows that it is computed with, by several
nats. So rows share a forward only if each would be computed in the same way alone.
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
"""Types of rotary embeddings, in transformers' names."""
KEYS_KEPT = ("keep_window_size", "index_topk")
"""Settings of sparse attention: how many keys a token attends to at most."""


@dataclass(frozen=True, slots=True)
class LengthSwitch:
    """A model computes sequences of up to `limit` tokens in one way and longer ones in another.

    `growing`: every length beyond the limit is computed differently; else all longer sequences alike.
    """

    limit: int
    growing: bool

    def key(self, tokens: int) -> Hashable:
        """Key of a length; sequences with equal keys are computed in the same way."""
        return max(tokens, self.limit) if self.growing else tokens > self.limit


_switches: WeakKeyDictionary[nn.Module, tuple[LengthSwitch, ...]] = WeakKeyDictionary()


def length_switches(model: Policy) -> tuple[LengthSwitch, ...]:
    """Lengths at which the model computes in another way; none for most.

    Also registers a hook that resets length-dependent state, so that no forward depends on earlier ones.
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
    """A key for each sequence length: sequences with equal keys may share a forward."""
    switches = length_switches(model)
    return [tuple(switch.key(tokens) for switch in switches) for tokens in lengths]


def split_by_length(model: Policy, rows: Sequence[Row]) -> list[tuple[list[int], list[Row]]] | None:
    """Groups of completions that may share a forward; None if all of `rows` may.

    Each group is `(indices, rows)`: the indices of its completions, counted through all rows, and for each a
    row with that completion alone.
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
    """Length-dependent types of a rotary module, each with the kind of layer that it is for, None for all."""
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
    """Back to the frequencies of pretraining; the forward sets others if its sequences are longer."""
    for kind, layer in _kinds(rotary):
        if "dynamic" in kind:
            prefix = "" if layer is None else f"{layer}_"
            frequencies = getattr(rotary, f"{prefix}inv_freq")
            original = getattr(rotary, f"{prefix}original_inv_freq").to(frequencies.device)
            rotary.register_buffer(f"{prefix}inv_freq", original, persistent=False)
            setattr(rotary, f"{prefix}max_seq_len_cached", rotary.original_max_seq_len)
