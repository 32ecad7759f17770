"""Files that are written once, by whichever worker is first."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_once(path: Path, text: str) -> bool:
    """Create a file atomically unless it exists; returns whether this call created it."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    part.write_text(text, encoding="utf-8")
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True
