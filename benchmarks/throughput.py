"""What a rate is held against: operations of a step, peaks of a device by its name, MFU, bytes of decoding.

    MFU = operations that a step needs / (seconds of a step * peak of the device in operations per second)

Needed are the matrix products alone: a forward, and twice that for its backward (once where the weights are
frozen), every prompt once, the output head where it scores a token, nothing recomputed and no padding.
Tokens per second count the same tokens, every prompt once. Where two programs are compared, both are held to
these numbers, so that the ratio of their MFU is that of their speed.

A decoding step reads every weight once and all keys and values so far, a prompt's once for all of its
completions. The share of the bandwidth is these bytes over the seconds of a step and the peak of the memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BF16_TFLOPS = {
    "NVIDIA A100": 312.0,
    "NVIDIA B200": 2250.0,
    "NVIDIA GeForce RTX 4090": 165.2,
    "NVIDIA H100 NVL": 835.0,
    "NVIDIA H100 PCIe": 756.0,
    "NVIDIA H100": 989.0,
    "NVIDIA H200 NVL": 835.0,
    "NVIDIA H200": 989.0,
    "NVIDIA L40S": 362.0,
    "NVIDIA L4": 121.0,
}
"""Dense bfloat16 products with float32 sums, 10^12 operations per second, from NVIDIA's data sheets, where
numbers with sparsity (twice these) stand beside them or instead: nvidia.com/en-us/data-center/{a100,h100,
h200,l4,l40s}, the Blackwell data sheet for B200, and the whitepaper of the Ada architecture for the RTX 4090.
"""
TERABYTES_PER_SECOND = {
    "NVIDIA A100-SXM4-40GB": 1.555,
    "NVIDIA A100-SXM4-80GB": 2.039,
    "NVIDIA A100 80GB PCIe": 1.935,
    "NVIDIA GeForce RTX 4090": 1.008,
    "NVIDIA H100 NVL": 3.9,
    "NVIDIA H100 PCIe": 2.0,
    "NVIDIA H100": 3.35,
    "NVIDIA H200": 4.8,
    "NVIDIA L40S": 0.864,
    "NVIDIA L4": 0.3,
}
"""Bandwidth of the device's memory, from the same data sheets."""


def peak_flops(device: str, dtype: str) -> float | None:
    """Operations per second that the device called `device` cannot exceed in `dtype`, where known."""
    found = _of_family(device, BF16_TFLOPS) if dtype == "bfloat16" else None
    return found and found * 1e12


def peak_bandwidth(device: str) -> float | None:
    """Bytes per second that the memory of the device called `device` cannot exceed, where known."""
    found = _of_family(device, TERABYTES_PER_SECOND)
    return found and found * 1e12


def _of_family(device: str, table: Mapping[str, float]) -> float | None:
    """A name is that of a family, followed by a form or a size of memory: the longest that fits counts."""
    fitting = [name for name in table if device == name or device.startswith((f"{name} ", f"{name}-"))]
    return None if not fitting or "Laptop" in device else table[max(fitting, key=len)]


def share(amount: float, seconds: float, peak: float | None) -> float | None:
    """`amount` per second as a share of `peak`: the MFU of operations; None where the peak is not known."""
    return None if peak is None else amount / seconds / peak


def row_operations(
    config: Any, prompt: int, answers: Sequence[int], passes: int, attention_passes: int = 3
) -> float:
    """Floating-point operations of one row: a prompt, computed once, and its answers, in tokens.

    A product of a (T, a) by a (a, b) matrix is 2Tab; the backward needs two of the same size, or one
    where the weight is frozen: `passes` is 3, or 2, or 1 for a forward alone. Attention's two products
    have no weights, so 3 or 1. Adapters (r = 16) are left out, as are everything but products. The head
    is counted where it scores a token.
    """
    config = config.get_text_config()
    queries, keys = _attention_widths(config)
    tokens = prompt + sum(answers)
    seen = prompt**2 / 2 + sum(n * prompt + n**2 / 2 for n in answers)
    attention = attention_passes * 2 * 2 * queries * seen  # scores and values
    per_layer = passes * 2 * _layer_weights(config, queries, keys) * tokens + attention
    head = passes * 2 * config.hidden_size * config.vocab_size * sum(answers)
    return config.num_hidden_layers * per_layer + head


def decode_bytes(config: Any, prompts: Sequence[int], k: int, own: float, width: int) -> float:
    """Bytes that one decoding step reads: matrices and head once, and the keys and values of all rows.

    Args:
        prompts: lengths of the prompts in tokens, each of which is in memory once.
        k: completions per prompt.
        own: tokens that each completion has so far; the mean over the steps for a mean step.
        width: bytes of a number.
    """
    config = config.get_text_config()
    queries, keys = _attention_widths(config)
    cached = 2 * keys * (sum(prompts) + len(prompts) * k * own)
    layers = config.num_hidden_layers * (_layer_weights(config, queries, keys) + cached)
    return width * (layers + config.hidden_size * config.vocab_size)


def _attention_widths(config: Any) -> tuple[int, int]:
    """Widths of queries, and of keys or values, of a layer."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_attention_heads * head, config.num_key_value_heads * head


def _layer_weights(config: Any, queries: int, keys: int) -> int:
    """Numbers in the matrices of a layer: attention's four, and the three of a gated MLP."""
    return config.hidden_size * (2 * queries + 2 * keys + 3 * config.intermediate_size)
