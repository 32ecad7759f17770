"""What the weights in a folder end in, from the files that transformers and peft write beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from boresight.core.files import read_json

OutputHead = Literal["lm", "score"]


def head_of(folder: Path) -> OutputHead:
    """`score` for a reward model, with all its weights or as an adapter; else `lm`, a vocabulary."""
    if _read(folder / "adapter_config.json").get("task_type") == "SEQ_CLS":
        return "score"
    architectures = _read(folder / "config.json").get("architectures") or []
    return "score" if any(name.endswith("ForSequenceClassification") for name in architectures) else "lm"


def _read(file: Path) -> dict[str, Any]:
    return dict(read_json(file)) if file.is_file() else {}
