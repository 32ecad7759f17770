"""Text files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str, *, errors: str = "strict") -> None:
    """Write `text` beside `path`, then give it the name at once; `errors` as in `open`.

    Whoever has the file open, or reads it after a crash, never sees half of it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8", errors=errors)
    os.replace(temporary, path)
