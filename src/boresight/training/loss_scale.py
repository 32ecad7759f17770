"""Scale the loss dynamically in float16, where small gradients would otherwise be zero.

The smallest float16 above zero is 6e-8, and gradients of single activations are often smaller. The loss is
multiplied by a power of two, and the summed gradient is divided by it. If a gradient overflows, its step is
skipped and the scale is halved; after many steps without overflow the scale is doubled (Micikevicius et al.
2018, arXiv 1710.03740). Multiplying by a power of two is exact as long as the result is within range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LOSS_SCALE = "loss_scale"
"""Key of the scale in a checkpoint's progress."""
START, LARGEST = 2.0**16, 2.0**24
GROW_AFTER = 2000
"""Number of steps without overflow after which the scale doubles."""


@dataclass(slots=True)
class LossScale:
    """The current scale (`value`), and the number of steps since it last changed (`held`)."""

    value: float = 1.0
    held: int = 0
    acts: bool = False
    """Whether the scale may change; otherwise it is 1."""

    @classmethod
    def of(cls, dtype: str) -> LossScale:
        """Return the initial scale of a run that computes in `dtype`."""
        return cls(START, acts=True) if dtype == "float16" else cls()

    def lower(self) -> bool:
        """Halve the scale after an overflow; return False if it is 1 already."""
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
        """Return the values for a checkpoint."""
        return {"value": self.value, "held": self.held}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Restore the values of a checkpoint; a run resumed in another precision keeps its own scale."""
        if self.acts and state is not None:
            self.value, self.held = float(state["value"]), int(state["held"])
