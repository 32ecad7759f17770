"""Nothing that users or their files can see differs from what is stored."""

from __future__ import annotations

import pytest

from tests.pins.stored import PINS, Pin
from tests.versions import is_older

WRITTEN_WITH = {"cli": ("typer", "0.29"), "run_folders": ("peft", "0.21")}
"""Libraries whose older versions write otherwise."""


@pytest.mark.parametrize("pin", PINS, ids=lambda pin: pin.name)
def test_nothing_has_changed(pin: Pin) -> None:
    written_with = WRITTEN_WITH.get(pin.name)
    if written_with is not None and is_older(*written_with):
        pytest.skip(f"stored with {' '.join(written_with)}")
    lines = pin.differences()
    shown = "\n".join(lines[:40] + [f"and {len(lines) - 40} more"] * (len(lines) > 40))
    assert not lines, f"{pin.path.name} says otherwise; if the change is meant, run `make pins`:\n{shown}"
