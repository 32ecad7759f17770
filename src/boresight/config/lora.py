"""Settings of low-rank adapters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from boresight.config.section import Section


class LoraConfig(Section):
    """Settings of low-rank adapters: W is replaced by W + (alpha / r) B A.

    A is `(r, in)`, B is `(out, r)`; B is zero at the start.
    """

    r: int = Field(default=16, gt=0)
    """Rank of the update."""
    alpha: float = Field(default=32, gt=0)
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the adapters' inputs set to zero in training; always off for the reference. Left out, it is 0
    for methods that learn from answers they sample (rloo, xpo)."""
    base: Literal["auto", "float32", "nf4"] = "auto"
    """Storage of the frozen weights under the adapters. `auto` is bfloat16 where the run computes in
    bfloat16, which changes no training step, and float32 elsewhere. `nf4` is 4 bits (needs
    `boresight[bitsandbytes]`): it rounds the weights, for the reference too."""
    targets: list[str] | Literal["all-linear"] = ["q_proj", "k_proj", "v_proj", "o_proj"]
    """Names of the linear layers that get an adapter; `all-linear` is every one but the LM head."""
