"""Compute the bytes per token that a decoder layer saves for its backward and allocates during the backward.

The numbers are multiples of three widths: that of the hidden states, of the keys, and of the MLP. They were
counted tensor by tensor on layers with RMSNorm and a gated MLP, as in Llama, Qwen and Mistral
(`tests/training/test_footprint.py` repeats the count). Attention saves no scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from boresight.config.lora import LoraConfig
from boresight.models.policy import key_widths

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Kernels = Literal["fused", "float32", "half", "bfloat16"]
"""Kinds of layers: `fused` (this package's own, float32 on a CPU), `float32` (the model's own), `half` (the
model's own under autocast), and `bfloat16` (weights in bfloat16, `split_weights`)."""
ATTENTION_IN, MLP_IN = {"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape of a decoder.

    `layers` is the number of layers; `hidden`, `intermediate` and `kv` are the widths of its hidden states,
    of its MLP, and of the keys of one token.
    """

    layers: int
    hidden: int
    intermediate: int
    kv: int
    vocabulary: int = 0
    """Size of the vocabulary; 0 if unknown."""

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Self:
        """The shape of a model by its config, with the widest keys and MLP of its layers."""
        text = config.get_text_config()
        mlp = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
        return cls(
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            intermediate=max(mlp) if isinstance(mlp, list | tuple) else mlp,  # Gemma 3n has one per layer
            kv=max(key_widths(config)),
            vocabulary=text.vocab_size,
        )

    @property
    def matrices(self) -> int:
        """Number of weights in the linear layers of one decoder layer."""
        return 2 * self.hidden * (self.hidden + self.kv) + 3 * self.hidden * self.intermediate


@dataclass(frozen=True, slots=True)
class PerToken:
    """Number of bytes per token, as multiples of the three widths and a constant."""

    hidden: float
    kv: float
    mlp: float
    constant: float = 0.0

    def __add__(self, other: PerToken) -> PerToken:
        return PerToken(
            self.hidden + other.hidden,
            self.kv + other.kv,
            self.mlp + other.mlp,
            self.constant + other.constant,
        )

    def bytes(self, shape: Shape) -> float:
        """Return the number of bytes per token for a model of this shape."""
        widths = self.hidden * shape.hidden + self.kv * shape.kv + self.mlp * shape.intermediate
        return widths + self.constant


KEPT: dict[tuple[Kernels, bool], PerToken] = {
    ("fused", False): PerToken(24, 8, 8),
    ("float32", False): PerToken(32, 8, 16),
    ("half", False): PerToken(30, 4, 8),
    ("bfloat16", False): PerToken(20, 4, 8),
    ("fused", True): PerToken(16, 8, 8),
    ("float32", True): PerToken(16, 8, 12),
    ("half", True): PerToken(12, 4, 6),
}
"""Bytes per token that a layer saves for its backward, by `(kernels, whether its weights are frozen)`; the
bytes for adapters are added to them."""
PASSING: dict[tuple[Kernels, bool], PerToken] = {
    ("fused", False): PerToken(14, 0, 12),
    ("float32", False): PerToken(14, 0, 6),
    ("half", False): PerToken(26, 0, 0),
    ("bfloat16", False): PerToken(14, 0, 2),
    ("fused", True): PerToken(2, 0, 12),
    ("float32", True): PerToken(2, 0, 12),
    ("half", True): PerToken(18, 0, 2),
}
"""Bytes per token that the backward of the last layer allocates besides everything saved, by `(kernels,
whether weights are frozen)`."""
RESIDUAL: dict[Kernels, int] = {"fused": 4, "float32": 4, "half": 4, "bfloat16": 2}
"""Bytes per element of the hidden states between two layers."""


def kept_by_layer(kernels: Kernels, lora: LoraConfig | None, *, mask: int = 4) -> PerToken:
    """Return the bytes per token that a layer saves for its backward.

    Args:
        mask: bytes per element of torch's dropout mask; fused layers use their own, of one byte.
    """
    kept = KEPT[kernels, lora is not None]
    return kept if lora is None else kept + _adapters(kernels, lora, mask)


def recomputed_layer(kernels: Kernels, lora: LoraConfig | None, *, mask: int = 4) -> PerToken:
    """Return the peak bytes per token of a layer while it is recomputed and its backward runs."""
    if kernels == "bfloat16":
        return kept_by_layer(kernels, lora, mask=mask) + PerToken(6, 0, 4)
    kernels = "float32" if kernels == "fused" else kernels  # fused layers are off under recomputation
    kept = kept_by_layer(kernels, lora, mask=mask)
    if lora is None:
        return kept + (PerToken(2, 0, 8) if kernels == "float32" else PerToken(-2, 0, 4))
    of_mlp = bool(_targets(lora) & (MLP_IN | {"down_proj"}))
    if kernels == "float32":
        return kept + PerToken(2, 0, 8 if of_mlp else 12)
    return kept + PerToken(12 if of_mlp else 2, 0, 10 if of_mlp and lora.dropout else 6)


def _targets(lora: LoraConfig) -> set[str]:
    every = ATTENTION_IN | MLP_IN | {"o_proj", "down_proj"}
    return every if lora.targets == "all-linear" else set(lora.targets)


def _adapters(kernels: Kernels, lora: LoraConfig, mask: int) -> PerToken:
    """Return the bytes per token that adapters save: their inputs and their inner activations.

    Float32 layers that share an input save it once.
    """
    targets = _targets(lora)
    wide, narrow = len(targets - {"down_proj"}), int("down_proj" in targets)
    entry = 2 if kernels == "half" else 4
    inner = PerToken(0, 0, 0, entry * lora.r * len(targets))
    if kernels == "half":
        each = entry + (mask if lora.dropout else 0)
        return inner + PerToken(each * wide, 0, each * narrow)
    if lora.dropout and kernels != "fused":
        return inner + PerToken((entry + mask) * wide, 0, (entry + mask) * narrow)
    shared = bool(targets & ATTENTION_IN) + bool(targets & MLP_IN)
    masks = int(lora.dropout > 0)
    return inner + PerToken(entry * shared + masks * wide, 0, (entry + masks) * narrow)
