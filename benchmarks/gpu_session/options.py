"""Options and output that the programs of a session share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the options that every program takes."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    made.add_argument("--tiny", action="store_true", help="in small, to rehearse: its numbers mean nothing")
    made.add_argument("--json", type=Path, help="write the numbers to this file")
    return made


def write(path: Path | None, numbers: dict[str, Any]) -> None:
    """Write the numbers so far; a section may be stopped before its end."""
    if path is not None:
        path.write_text(json.dumps(numbers, indent=1) + "\n")
