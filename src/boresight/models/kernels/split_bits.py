"""Split a float32 number into a bfloat16 and 16 more bits, from which it can be restored bit for bit.

Forwards use only the bfloat16; an optimizer joins both parts, updates the float32 number and splits it
again. The parts take 4 bytes per weight, where float32 weights and their bfloat16 copies take 6.

Let b be the 32 bits of a number as an integer. A bfloat16 consists of the 16 high bits, which contain the
sign and the exponent. The nearest bfloat16 has the next larger integer if the low bits are 2^15 or more:

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
"""Bits of infinity, above which all bit patterns are NaN, and a mask of all bits except the sign."""
CHUNK = 1 << 22
"""Number of entries that are joined or split at a time if the operations are not compiled into one kernel."""
CHUNK_BYTES = 17
"""Temporary memory per entry of a chunk, in bytes: four integers of 4 bytes, and a mask of NaN."""


def split_bits(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return `(high, low)`, each of the shape of `numbers`, for float32 numbers.

    `high` is the nearest bfloat16, and `low` contains the remaining bits as int16.
    """
    high = torch.empty(numbers.shape, dtype=torch.bfloat16, device=numbers.device)
    low = torch.empty(numbers.shape, dtype=torch.int16, device=numbers.device)
    split_into(numbers.reshape(-1), high.view(-1), low.view(-1))
    return high, low


def joined_bits(high: Tensor, low: Tensor) -> Tensor:
    """Return the float32 numbers that `split_bits` has split into `high` and `low`, of the same shape."""
    numbers = torch.empty(high.shape, dtype=torch.float32, device=high.device)
    join_into(numbers.view(-1), high.reshape(-1), low.reshape(-1))
    return numbers


def split_into(numbers: Tensor, high: Tensor, low: Tensor) -> None:
    """Split float32 `numbers` as `split_bits` does, into the given `high` and `low`; all tensors are
    `(n,)`."""
    _in_one_pass(_split, numbers.view(torch.int32), high.view(torch.int16), low)


def join_into(numbers: Tensor, high: Tensor, low: Tensor) -> None:
    """Join `high` and `low` as `joined_bits` does, into the given `numbers`; all tensors are `(n,)`."""
    _in_one_pass(_join, numbers.view(torch.int32), high.view(torch.int16), low)


def _split(bits: Tensor, high: Tensor, low: Tensor) -> None:
    high.copy_(torch.where(_is_nan(bits), bits | QUIET, bits + HALF_STEP) >> 16)
    low.copy_((bits << 16) >> 16)  # shifting up and down makes them a signed number that fits an int16


def _join(bits: Tensor, high: Tensor, low: Tensor) -> None:
    shifted = high.to(torch.int32) << 16
    below = low.to(torch.int32)
    bits.copy_(shifted + torch.where(_is_nan(shifted), below & LOW_BITS, below))  # NaN was not rounded


def _is_nan(bits: Tensor) -> Tensor:
    return (bits & UNSIGNED) > INFINITY


def _in_one_pass(step: Callable[..., None], *tensors: Tensor) -> None:
    """Apply `step` to the tensors in place: compiled on a GPU, in chunks elsewhere.

    On a GPU, a dozen passes over memory would take as long as the update itself. The operations are on
    integers, so no compiler rounds them, and one graph serves all lengths.
    """
    if tensors[0].is_cuda:
        _compiled(step)(*tensors)
        return
    for chunk in zip(*(tensor.split(CHUNK) for tensor in tensors), strict=True):
        step(*chunk)


@functools.cache
def _compiled(step: Callable[..., None]) -> Callable[..., None]:
    return torch.compile(step, dynamic=True)
