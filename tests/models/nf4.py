"""What `models/kernels/compact.py` uses of bitsandbytes, in plain torch, for machines that do not have it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

LEVELS = torch.tensor(
    [
        *(-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0),
        *(0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0),
    ]
)
"""Of 4-bit NormalFloat (arXiv 2305.14314, appendix E)."""


SCALES = (torch.arange(256) - 128) / 127
"""The numbers that a byte of a quantized scale stands for; bitsandbytes has others."""


@dataclass
class QuantState:
    absmax: torch.Tensor
    shape: torch.Size
    dtype: torch.dtype
    blocksize: int
    quant_type: str
    code: torch.Tensor | None = None
    state2: QuantState | None = None
    offset: torch.Tensor | None = None


def quantize_4bit(weight, blocksize, compress_statistics, quant_type):
    assert compress_statistics and quant_type == "nf4" and weight.numel() % blocksize == 0
    blocks = weight.reshape(-1, blocksize)
    absmax = blocks.abs().amax(1)
    codes = ((blocks / absmax[:, None])[..., None] - LEVELS).abs().argmin(-1).reshape(-1, 2)
    packed = (codes[:, 0] * 16 + codes[:, 1]).to(torch.uint8)[:, None]
    offset = absmax.mean()
    outer = (absmax - offset).abs().max().clamp(min=1e-12)[None]
    scales = ((absmax - offset) / outer * 127 + 128).round().to(torch.uint8)
    state2 = QuantState(outer, absmax.shape, torch.float32, 256, "", SCALES.to(weight.device, copy=True))
    return packed, QuantState(scales, weight.shape, weight.dtype, blocksize, "nf4", LEVELS, state2, offset)


def dequantize_blockwise(codes, absmax, blocksize, code=None):
    """Without `code`, that of the CPU is copied to the device, as in bitsandbytes: not while a graph is
    captured there."""
    assert code is not None and code.device == codes.device
    return code[codes.long()] * absmax


def dequantize_4bit(packed, state):
    codes = torch.stack([packed // 16, packed % 16], -1).reshape(-1, state.blocksize).long()
    return (LEVELS[codes] * state.absmax[:, None]).reshape(state.shape).to(state.dtype)
