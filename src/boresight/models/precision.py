"""Precision of a run and of sums over tokens, and the differences of log-probabilities that rounding
explains.

In half precision, two computations of one log-probability differ if their forwards have different shapes:
products are then summed in another order, and values near the midpoint of two representable numbers are
rounded differently. The differences of single tokens are nearly independent and have mean 0, so that the
difference of a sum over n tokens grows with the square root of n, and that of a mean shrinks with it. A
difference between two models, in contrast, grows with n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TOKEN_NOISE = {torch.bfloat16: 0.06, torch.float16: 0.0075}
"""Upper bound of the standard deviation of a token's log-probability due to rounding, in nats, by dtype.

bfloat16: the largest value measured for four models of 0.5B to 7B on one GPU (verl issue 6280), which is
above that of the starter (benchmarks/RESULTS.md). float16: an eighth of it, since float16 has three bits
more.
"""
FEWEST_TOKENS = 16
"""Number of tokens that shorter completions count as: the rounding error of one token has heavier tails than
a normal distribution."""
LARGEST_MEAN, LARGEST_COMPLETION = 5.0, 6.0
"""Maximum difference that rounding explains, in standard deviations: for the mean over a batch, and for one
completion.

Under a normal distribution, one completion in 500 million exceeds the limit.
"""

EXPERIMENTAL = {"mps"}
"""Types of devices without float64. They use only the padded layout and sampling without a cache, and were
not measured."""


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64 if `device` supports it, otherwise float32."""
    return torch.float32 if device.type in EXPERIMENTAL else torch.float64


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return float64 for float64, and float32 for all narrower types."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def resolve_dtype(setting: str, device: torch.device) -> str:
    """Return the setting `model.dtype` of a recipe for `device`: `auto` becomes `float32`, `bfloat16` or
    `float16`.

    A GPU without bfloat16 emulates it, slower than float32, so `auto` never takes bfloat16 there. float16
    needs loss scaling.
    """
    if setting != "auto":
        return setting
    if device.type != "cuda":
        return "float32"
    capability = torch.cuda.get_device_capability(device)
    return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"


def token_noise(dtype: torch.dtype | str) -> float:
    """Return the standard deviation of a token's log-probability due to rounding in `dtype`, in nats.

    0 for float32 and float64, for which callers use fixed tolerances instead.
    """
    return TOKEN_NOISE.get(getattr(torch, dtype) if isinstance(dtype, str) else dtype, 0.0)


def per_root_token(gap: Tensor, length: Tensor) -> Tensor:
    """Return |gap| / sqrt(length), with the shape of `gap`.

    Args:
        gap: differences of summed log-probabilities, in nats.
        length: number of tokens in each sum; at least `FEWEST_TOKENS` are assumed.
    """
    return gap.abs() / length.clamp(min=FEWEST_TOKENS).sqrt()


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Differences between two computations of the same log-probabilities.

    Attributes:
        mean: mean difference over all tokens, in nats per token.
        tokens: number of tokens.
        largest: largest difference of a completion, in nats per square root of its number of tokens.
    """

    mean: float
    tokens: float
    largest: float

    @classmethod
    def of(cls, gap: Tensor, length: Tensor) -> Disagreement:
        """Compute the differences from summed log-probabilities.

        Args:
            gap: differences of summed log-probabilities, in nats.
            length: number of scored tokens in each sum, with the shape of `gap`.
        """
        gap, length = gap.detach().cpu().double(), length.cpu().double()
        tokens = float(length.sum())
        return cls(float(gap.sum()) / max(tokens, 1.0), tokens, float(per_root_token(gap, length).max()))

    def beyond_rounding(self, noise: float) -> str | None:
        """Return a description of a difference that is larger than rounding explains; None if rounding
        explains it.

        Rounding never explains NaN. `noise` squared is added to the limit of the mean, because rounding that
        is independent of the text lowers the mean log-probability of sampled tokens by half its variance.

        Args:
            noise: standard deviation of a token's log-probability due to rounding, in nats.
        """
        spread = LARGEST_MEAN * noise * math.sqrt(max(self.tokens, FEWEST_TOKENS))  # of the sum over tokens
        mean = spread / max(self.tokens, 1.0) + noise**2
        if not abs(self.mean) <= mean:
            over = f"over {self.tokens:,.0f} tokens"
            return f"the mean is {self.mean:+.2g} nats per token {over}, where rounding explains {mean:.2g}"
        if not self.largest <= LARGEST_COMPLETION * noise:
            return (
                f"a completion is off by {self.largest:.2g} nats times the square root of its tokens, where "
                f"rounding explains {LARGEST_COMPLETION * noise:.2g}"
            )
        return None
