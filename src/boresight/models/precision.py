"""The precision of a run and of sums over tokens, and how far rounding alone moves a log-probability.

In half precision two computations of one log-probability differ where their forwards have different shapes:
products then sum in another order, and values near the midpoint of two representable numbers are rounded
differently. The differences of single tokens are about independent with mean 0, so that of a sum over n
tokens grows with the square root of n, and that of a mean shrinks with it. A difference between two models
grows with n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TOKEN_NOISE = {torch.bfloat16: 0.06, torch.float16: 0.0075}
"""Upper bound of the standard deviation that rounding gives a token's log-probability, nats: in bfloat16 the
largest value of four models of 0.5B to 7B that were measured on one GPU (verl issue 6280), which is above
that of the starter (benchmarks/RESULTS.md). float16 has three bits more."""
FEWEST_TOKENS = 16
"""Tokens that a shorter completion counts as: the rounding error of one token has heavier tails than a
normal distribution."""
LARGEST_MEAN, LARGEST_COMPLETION = 5.0, 6.0
"""Number of standard deviations by which the mean over a batch, and one completion, may differ. Of a
normal distribution, one completion in 500 million does."""

EXPERIMENTAL = {"mps"}
"""Devices without float64, which only use the padded layout and sampling without a cache. Not measured."""


def widest_float(device: torch.device) -> torch.dtype:
    """float64 if `device` supports it, else float32."""
    return torch.float32 if device.type in EXPERIMENTAL else torch.float64


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def resolve_dtype(setting: str, device: torch.device) -> str:
    """`float32`, `bfloat16` or `float16`: `model.dtype` of a recipe on `device`, where it may be `auto`.

    A GPU without bfloat16 emulates it, slower than float32; its float16 needs loss scaling.
    """
    if setting != "auto":
        return setting
    if device.type != "cuda":
        return "float32"
    capability = torch.cuda.get_device_capability(device)
    return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"


def token_noise(dtype: torch.dtype | str) -> float:
    """Nats of rounding per token in `dtype`, or its name; 0 for float32 and float64, where limits are
    strict."""
    return TOKEN_NOISE.get(getattr(torch, dtype) if isinstance(dtype, str) else dtype, 0.0)


def per_root_token(gap: Tensor, length: Tensor) -> Tensor:
    """|gap| / sqrt(length): difference of summed log-probabilities, nats, over the square root of the
    number of tokens, of the shape of `gap`."""
    return gap.abs() / length.clamp(min=FEWEST_TOKENS).sqrt()


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Differences between two computations of the same log-probabilities.

    `mean` is their difference in nats per token over all `tokens`, `largest` that of one completion in nats
    per square root of its tokens.
    """

    mean: float
    tokens: float
    largest: float

    @classmethod
    def of(cls, gap: Tensor, length: Tensor) -> Disagreement:
        """Build from differences of summed log-probabilities, nats, and the number of scored tokens of
        each, tensors of one shape."""
        gap, length = gap.detach().cpu().double(), length.cpu().double()
        tokens = float(length.sum())
        return cls(float(gap.sum()) / max(tokens, 1.0), tokens, float(per_root_token(gap, length).max()))

    def beyond_rounding(self, noise: float) -> str | None:
        """Describe a difference that is larger than rounding explains; None if rounding explains it.

        `noise` is the standard deviation of rounding, nats per token. NaN is never explained. `noise` squared
        is added to the limit of the mean, because rounding that is independent of the text lowers the mean
        log-probability of sampled tokens by half its variance.
        """
        spread = LARGEST_MEAN * noise * math.sqrt(max(self.tokens, FEWEST_TOKENS))  # of the sum of all
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
