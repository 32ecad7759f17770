"""What the weights in a folder end in, from the files that transformers and peft write beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

Head = Literal["lm", "score"]


def head_of(folder: Path) -> Head:
    """`score` for a reward model, with all its weights or as an adapter; else `lm`, a vocabulary."""
    if _read(folder / "adapter_config.json").get("task_type") == "SEQ_CLS":
        return "score"
    architectures = _read(folder / "config.json").get("architectures") or []
    return "score" if any(name.endswith("ForSequenceClassification") for name in architectures) else "lm"


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
