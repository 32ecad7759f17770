"""Choose the number of tokens of a forward if the recipe leaves it to the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boresight.config.recipe import TrainSection

if TYPE_CHECKING:
    import torch

ON_CPU, ON_ACCELERATOR = 1024, 4096
"""Number of tokens per forward on a CPU and on an accelerator.

A CPU multiplies matrices of 1,024 rows as efficiently as larger ones, and the activations of 4,096 tokens of
a 135M model take gigabytes. A GPU needs more rows to be busy between kernel launches.
"""


def forward_tokens(section: TrainSection, device: torch.device) -> int:
    """Return `train.tokens_per_forward`, with `auto` resolved for `device`."""
    if section.tokens_per_forward != "auto":
        return section.tokens_per_forward
    return ON_CPU if device.type == "cpu" else ON_ACCELERATOR
