"""Files of rows that tests write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write one JSON object per line; returns the path as a recipe has it."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
