"""Small files for readers, and the folder of public data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., Path]:
    """`jsonl(record, record, …)` writes a JSON Lines file and gives its path."""

    def write(*records: Any, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write


@pytest.fixture
def public_data() -> Path:
    """The folder of public data; the test is skipped where it is not there."""
    folder = Path(os.environ.get("BORESIGHT_DATA", REPOSITORY / "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no public data in {folder}; set BORESIGHT_DATA")
    return folder
