"""Nothing that users or their files can see differs from what is stored."""

from __future__ import annotations

import pytest

from tests.pins.stored import PINS, Pin


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: pin.name)
def test_nothing_has_changed(pin: Pin) -> None:
    lines = pin.differences()
    shown = "\n".join(lines[:40] + [f"and {len(lines) - 40} more"] * (len(lines) > 40))
    assert not lines, f"{pin.path.name} says otherwise; if the change is meant, run `make pins`:\n{shown}"
