"""Count the answers that the token limit cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def cut_sentence(payload: Mapping[str, Any]) -> str:
    """Return a sentence with the number of answers of each column that were cut; '' if there are none.

    E.g. `Answers cut at the token limit: before training 0 of 60, after training 12 of 60.`

    Args:
        payload: `samples` and the names of their `columns`, as `page` takes them.
    """
    samples = payload["samples"]
    cut = [0 for _ in payload["columns"]]
    for sample in samples:
        for column, mark in enumerate(sample.get("cuts", ())):
            cut[column] += mark != ""
    if not any(cut):
        return ""
    counts = (f"{name} {n:,} of {len(samples):,}" for name, n in zip(payload["columns"], cut, strict=True))
    return f"Answers cut at the token limit: {', '.join(counts)}."
