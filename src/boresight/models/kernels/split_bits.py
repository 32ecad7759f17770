"""A float32 number as a bfloat16 and 16 more bits, which together are that number, bit for bit.

The forward multiplies the first half; an optimizer joins both, updates the float32 number and splits it
again. They take 4 bytes per weight, where float32 weights and their bfloat16 copies take 6.

Let b be the 32 bits of a number as an integer. Its sign and exponent are among the 16 high bits, and a
bfloat16 has just those 16. The nearest one takes the next integer where the low bits are 2^15 or more:

    high = (b + 2^15) >> 16            low = b - (high << 16), between -2^15 and 2^15 - 1

so `b = (high << 16) + low` whatever b is, and `low` fits an int16. Numbers of one sign have consecutive
integers, and those between two neighboring bfloat16 numbers are equally far apart, hence |low| <= 2^15, half
the distance, makes `high` the nearest. Two examples: 1 + 2^-8 - 2^-23 is 0x3F807FFF, high 0x3F80 (1) and low
+32767; 1 + 2^-8 is 0x3F808000, high 0x3F81 (1 + 2^-7) and low -32768.

The second number is halfway between two bfloat16 numbers and is rounded away from zero. Rounding such ties to
even, as hardware does, is not possible: 2^16 + 1 numbers would share an even `high`, and 16 bits distinguish
only 2^16 of them (NVIDIA/apex issue 1842 is about a remainder that loses such numbers). Truncation would be
exact too, at twice the largest error, and every weight of the forward would be nearer to zero than it should
be.

NaN is the exception, since its largest bit patterns, such as CUDA's 0x7FFFFFFF, would be rounded to zero. The
high bits of a NaN are kept, with the quiet bit set, as by every operation on it (IEEE 754-2019, 6.2.3), so
that `high` and the joined number are NaN. Infinities have low bits 0. A finite number beyond the largest
bfloat16 has an infinite high half, as under autocast.

Sources: Kalamkar et al. 2020 (arXiv 2005.04680) train with the truncated half; the rounded one with its
signed remainder is the option `store_param_remainders` of NVIDIA's Apex and Transformer Engine (pull request
1408).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

HALF_STEP, QUIET, LOW_BITS = 1 << 15, 1 << 22, (1 << 16) - 1
INFINITY, UNSIGNED = 0x7F800000, 0x7FFFFFFF
"""Bits of infinity, above which are those of NaN, and a mask of all bits but the sign."""
CHUNK = 1 << 22
"""Numbers that are joined or split at a time if the steps are not compiled into one kernel."""
CHUNK_BYTES = 17
"""Bytes of temporary integers per number: four of 4 bytes, and a mask of NaN."""


def split_bits(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """`(high, low)`: the nearest bfloat16 of float32 numbers, and the int16 bits that complete it, of the
    same shape."""
    high = torch.empty(numbers.shape, dtype=torch.bfloat16, device=numbers.device)
    low = torch.empty(numbers.shape, dtype=torch.int16, device=numbers.device)
    split_into(numbers.reshape(-1), high.view(-1), low.view(-1))
    return high, low


def joined_bits(high: Tensor, low: Tensor) -> Tensor:
    """The float32 numbers from the two parts that `split_bits` returned, of the same shape."""
    numbers = torch.empty(high.shape, dtype=torch.float32, device=high.device)
    join_into(numbers.view(-1), high.reshape(-1), low.reshape(-1))
    return numbers


def split_into(numbers: Tensor, high: Tensor, low: Tensor) -> None:
    """As `split_bits`, but writes into the given tensors, all of them `(n,)`."""
    _in_one_pass(_split, numbers.view(torch.int32), high.view(torch.int16), low)


def join_into(numbers: Tensor, high: Tensor, low: Tensor) -> None:
    """As `joined_bits`, but writes into the given tensor, all of them `(n,)`."""
    _in_one_pass(_join, numbers.view(torch.int32), high.view(torch.int16), low)


def _split(bits: Tensor, high: Tensor, low: Tensor) -> None:
    high.copy_(torch.where(_is_nan(bits), bits | QUIET, bits + HALF_STEP) >> 16)
    low.copy_((bits << 16) >> 16)  # shifted up and down, they are a signed number that an int16 has


def _join(bits: Tensor, high: Tensor, low: Tensor) -> None:
    shifted = high.to(torch.int32) << 16
    below = low.to(torch.int32)
    bits.copy_(shifted + torch.where(_is_nan(shifted), below & LOW_BITS, below))  # NaN was not rounded


def _is_nan(bits: Tensor) -> Tensor:
    return (bits & UNSIGNED) > INFINITY


def _in_one_pass(step: Callable[..., None], *tensors: Tensor) -> None:
    """Compiled on a GPU, where a dozen passes over memory would take as long as the update itself.

    In integers alone, which no compiler rounds; there is one graph for all lengths.
    """
    if tensors[0].is_cuda:
        _compiled(step)(*tensors)
        return
    for chunk in zip(*(tensor.split(CHUNK) for tensor in tensors), strict=True):
        step(*chunk)


@functools.cache
def _compiled(step: Callable[..., None]) -> Callable[..., None]:
    return torch.compile(step, dynamic=True)
