"""Both halves of float32 numbers: exact together for every bit pattern, and the first is the nearest."""

import pytest
import torch

from boresight.models.kernels import split_bits as module
from boresight.models.kernels.split_bits import join_into, joined_bits, split_bits, split_into

LOWS = (0x0000, 0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF)
"""Whole, just above, just below the middle, the middle, just above it, just below the next."""


def from_bits(*bits):
    return torch.tensor([b - (1 << 32) if b >> 31 else b for b in bits], dtype=torch.int32).view(
        torch.float32
    )


def bits_of(numbers):
    size = numbers.element_size()
    return numbers.view({2: torch.int16, 4: torch.int32}[size]).to(torch.int64) & ((1 << 8 * size) - 1)


def every_high(low):
    """All 65,536 high halves of a float32 above the low half `low`."""
    bits = (torch.arange(1 << 16) << 16) + low
    return torch.where(bits >= 1 << 31, bits - (1 << 32), bits).to(torch.int32).view(torch.float32)


def random_numbers(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(-(1 << 31), 1 << 31, (count,), generator=generator)
    return bits.to(torch.int32).view(torch.float32)


def expected_back(numbers):
    """The same bits; a signaling NaN has become a quiet one."""
    bits = bits_of(numbers)
    return torch.where(numbers.isnan(), bits | 0x00400000, bits)


@pytest.mark.parametrize("low", LOWS, ids=hex)
def test_all_high_halves_come_back(low):
    numbers = every_high(low)
    assert torch.equal(bits_of(joined_bits(*split_bits(numbers))), expected_back(numbers))


def test_all_low_halves_come_back():
    """Of 1.0, -3.1e-39 (subnormal), the largest numbers, and NaN with every payload of its low half."""
    for high in (0x3F80, 0x8021, 0x7F7F, 0xFF7F, 0x7FC0, 0xFFFF):
        numbers = from_bits(*((high << 16) + low for low in range(1 << 16)))
        assert torch.equal(bits_of(joined_bits(*split_bits(numbers))), bits_of(numbers))


@pytest.mark.parametrize("seed", range(4))
def test_random_patterns_come_back(seed):
    numbers = random_numbers(1 << 18, seed)
    assert torch.equal(bits_of(joined_bits(*split_bits(numbers))), expected_back(numbers))


@pytest.mark.parametrize(
    ("bits", "high", "low"),
    [
        (0x3F807FFF, 0x3F80, 32767),  # 1 + 2^-8 - 2^-23, below the middle of 1 and 1 + 2^-7
        (0x3F808000, 0x3F81, -32768),  # the middle itself: away from zero
        (0x3F818000, 0x3F82, -32768),  # the next middle, where the hardware rounds so too
        (0xBF808000, 0xBF81, -32768),  # and of a negative number
        (0x3FFFFFFF, 0x4000, -1),  # just below 2, over the border of two exponents
        (0x80000000, 0x8000, 0),  # minus zero
        (0x00000001, 0x0000, 1),  # the smallest subnormal number
        (0x7F800000, 0x7F80, 0),  # infinity
        (0xFF7F8000, 0xFF80, -32768),  # beyond the largest bfloat16
        (0x7FFFFFFF, 0x7FFF, -1),  # the NaN of CUDA
        (0x7F800001, 0x7FC0, 1),  # a signaling NaN, whose high half would be infinity
    ],
)
def test_worked_by_hand(bits, high, low):
    got = split_bits(from_bits(bits))
    assert (int(bits_of(got[0])), int(got[1])) == (high, low)


def test_the_high_half_is_what_the_hardware_rounds_to_but_in_the_middle():
    """There, of 2 signs, 255 exponents and 128 fractions, every other number differs: 2 * 255 * 64."""
    for low in LOWS:
        numbers = every_high(low)
        numbers = numbers[~numbers.isnan()]
        high, rounded = split_bits(numbers)[0], numbers.bfloat16()
        differ = bits_of(high) != bits_of(rounded)
        assert int(differ.sum()) == (2 * 255 * 64 if low == 0x8000 else 0)
        distance = (high.double() - numbers.double()).abs(), (rounded.double() - numbers.double()).abs()
        assert torch.equal(distance[0][differ], distance[1][differ])


def test_nan_stays_nan_in_both_halves_and_nothing_else_becomes_it():
    numbers = torch.cat([every_high(low) for low in LOWS] + [random_numbers(1 << 16)])
    high, low = split_bits(numbers)
    assert torch.equal(high.isnan(), numbers.isnan())
    assert torch.equal(joined_bits(high, low).isnan(), numbers.isnan())


def test_in_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 100)
    numbers = random_numbers(1050)
    high, low, back = (
        torch.empty(1050, dtype=torch.bfloat16),
        torch.empty(1050, dtype=torch.int16),
        numbers * 0,
    )
    split_into(numbers, high, low)
    expected = split_bits(numbers)
    assert torch.equal(bits_of(high), bits_of(expected[0]))
    assert torch.equal(low, expected[1])
    join_into(back, high, low)
    assert torch.equal(bits_of(back), expected_back(numbers))


def test_what_stands_beside_a_bfloat16_model_is_zero():
    """Published weights are bfloat16 already; they have no low bits."""
    high, low = split_bits(random_numbers(1000).bfloat16().nan_to_num(0.0).float())
    assert not low.any()
    assert torch.equal(high.float().bfloat16(), high)
