"""Write the stored files of all pins again: `python -m tests.pins.write`, or some by name."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.pins.stored import PINS


def main(names: list[str]) -> None:
    """Write the pins that are named, all where none is."""
    for pin in PINS:
        if not names or pin.name in names:
            pin.write()
            print(pin.path.relative_to(Path.cwd()) if pin.path.is_relative_to(Path.cwd()) else pin.path)


if __name__ == "__main__":
    main(sys.argv[1:])
