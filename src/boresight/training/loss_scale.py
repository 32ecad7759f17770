"""Dynamic loss scaling, without which small gradients are zero in float16.

The smallest float16 above zero is 6e-8; gradients of single activations are often below it. The loss is
multiplied by a power of two and the summed gradient divided by it. A gradient that overflows despite it is
dropped with its step and halves the scale; many steps without overflow double it (Micikevicius et al. 2018,
arXiv 1710.03740). Multiplying by a power of two is exact as long as the result is within range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LOSS_SCALE = "loss_scale"
"""Key of a checkpoint's progress."""
START, LARGEST = 2.0**16, 2.0**24
GROW_AFTER = 2000
"""Steps without overflow after which the scale doubles."""


@dataclass(slots=True)
class LossScale:
    """The current scale, and how many steps it has held."""

    value: float = 1.0
    held: int = 0
    acts: bool = False
    """Whether the scale may change; otherwise it is 1."""

    @classmethod
    def of(cls, dtype: str) -> LossScale:
        """The scale at the start of a run that computes in `dtype`."""
        return cls(START, acts=True) if dtype == "float16" else cls()

    def lower(self) -> bool:
        """Halve the scale after an overflow; False if it is 1 already."""
        if not self.acts or self.value <= 1:
            return False
        self.value, self.held = self.value / 2, 0
        return True

    def took_step(self) -> None:
        """Count a step without overflow, and double the scale after `GROW_AFTER` of them."""
        if not self.acts:
            return
        self.held += 1
        if self.held >= GROW_AFTER and self.value < LARGEST:
            self.value, self.held = self.value * 2, 0

    def state(self) -> dict[str, float]:
        """The values for a checkpoint."""
        return {"value": self.value, "held": self.held}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Restore the values of a checkpoint; a run resumed in another precision keeps its own scale."""
        if self.acts and state is not None:
            self.value, self.held = float(state["value"]), int(state["held"])
