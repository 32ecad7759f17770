"""Count the answers that the token limit cut."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STARTER = "starter"
"""Start model that `eval-reward` compares with by default."""


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


def again_with_more_tokens(run: Path, tokens: int, start: str = STARTER) -> str:
    """Return the command with which the start model and the trained model of a run answer its prompts again,
    with at most `tokens` tokens each."""
    folder = shlex.quote(str(run))
    of_start = "" if start == STARTER else f"systems.start.model={shlex.quote(start)} "
    return (
        f"boresight evaluate eval-reward prompts={folder}/samples.jsonl {of_start}"
        f"systems.trained.model={folder} generate.max_new_tokens={tokens} reward=length"
    )
