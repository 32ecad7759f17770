"""Convert model architectures to GGUF: metadata keys, names of tensors, and the order of rows.

The rows of Llama's query and key weights have another order in GGUF. llama.cpp applies rotary embeddings to
pairs of neighboring entries of a head; transformers pairs the first half of a head with the second half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from boresight.core.errors import UserError

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture that GGUF supports.

    Attributes:
        arch: name of the architecture in `gguf.MODEL_ARCH`.
        permutes: whether the rows of query and key weights are reordered.
    """

    arch: str
    permutes: bool


ARCHITECTURES = {"llama": Architecture("LLAMA", True), "qwen2": Architecture("QWEN2", False)}
"""Supported architectures, by the `model_type` of the config in transformers."""
INSTEAD = (
    "export whole weights without --gguf, and convert the folder with convert_hf_to_gguf.py of llama.cpp."
)


def refuse_unsupported(config: PreTrainedConfig) -> None:
    """Raise a `UserError` if a model has a property that these GGUF files cannot represent."""
    reason = next(_reasons(config), None)
    if reason is not None:
        raise UserError(f"--gguf: {reason}; {INSTEAD}")


def _reasons(config: PreTrainedConfig) -> Iterator[str]:
    if config.model_type not in ARCHITECTURES:
        yield f"models of type {config.model_type!r} are not supported ({', '.join(ARCHITECTURES)} are)"
        return
    rope = config.rope_parameters.get("rope_type", "default")
    if rope != "default":
        yield f"rotary embeddings of type {rope!r} are not supported"
    if config.hidden_act != "silu":
        yield f"the activation {config.hidden_act!r} is not supported"
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        yield "biases of attention_bias or mlp_bias are not supported"
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        yield "sliding-window attention is not supported"
    if config.model_type == "qwen2" and head_width(config) * config.num_attention_heads != config.hidden_size:
        yield "heads of another width than hidden_size / num_attention_heads are not supported"


def head_width(config: PreTrainedConfig) -> int:
    """Return the width of one attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def add_shape(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    """Write the sizes and constants of the architecture to the metadata of a GGUF file."""
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_width(config))
    writer.add_value_length(head_width(config))
    writer.add_rope_dimension_count(head_width(config))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def named_tensors(model: PreTrainedModel) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every weight as `(name in GGUF, float32 array)`, with its rows in GGUF's order.

    The weight of an output head that is tied to the embeddings is omitted.

    Raises:
        UserError: a weight has no name in GGUF.
    """
    from gguf import MODEL_ARCH, get_tensor_name_map

    config = model.config
    architecture = ARCHITECTURES[config.model_type]
    names = get_tensor_name_map(MODEL_ARCH[architecture.arch], config.num_hidden_layers)
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # readers use the embeddings instead
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise UserError(f"--gguf: the weight {name} has no name in GGUF files; {INSTEAD}")
        weight = value.detach().float().cpu().numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        part = name.split(".")[-2]
        if architecture.permutes and part in heads:
            weight = _interleaved(weight, heads[part])
        yield found, weight


def _interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return a weight with the rows of each head reordered: rows of its two halves alternate."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))
