"""Data of `boresight train demo`: prompts with a checkable constraint, and on-policy preference pairs.

    demo:pairs              272 training pairs
    demo:heldout-pairs      87 pairs for held-out accuracy
    demo:heldout-prompts    64 prompts, answered before and after training
    demo:test-prompts       400 prompts about 100 other topics, on which no setting was tuned
    demo:leaking-pairs      147 pairs that leak their label by length and tone, for comparison

The pairs are ranked by whether their answers meet the constraint. They were made by the recipe `synth-demo`;
see `docs/demo-data.md`.
"""

from __future__ import annotations

from pathlib import Path

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.files import expanded

FOLDER = Path(__file__).parent
PAIRS = FOLDER / "pairs.jsonl.gz"
HELDOUT_PAIRS = FOLDER / "heldout_pairs.jsonl.gz"
HELDOUT_PROMPTS = FOLDER / "heldout_prompts.jsonl.gz"
TEST_PROMPTS = FOLDER / "test_prompts.jsonl.gz"
LEAKING_PAIRS = FOLDER / "leaking_pairs.jsonl.gz"

PREFIX = "demo:"
FILES = {
    file.name.partition(".")[0].replace("_", "-"): file
    for file in (PAIRS, HELDOUT_PAIRS, HELDOUT_PROMPTS, TEST_PROMPTS, LEAKING_PAIRS)
}
"""Path of each file by its source name."""


def split_name(source: str | Path) -> tuple[str, str]:
    """Return the name and the split of a data source, given as `NAME@SPLIT`; the default split is `train`."""
    name, at, split = str(source).rpartition("@")
    if not at or "/" in split or expanded(source).exists():
        return str(source), "train"
    return name, split


def data_path(source: str | Path) -> Path:
    """Return the path of a data source, without its split and with `~` expanded.

    For `demo:NAME` it is the path of a file of this package.

    Raises:
        UserError: the demo has no file of that name.
    """
    name, _ = split_name(source)
    if not name.startswith(PREFIX):
        return expanded(name)
    short = name.removeprefix(PREFIX)
    if short not in FILES:
        raise UserError(f"{name}: the demo has no data of that name{nearest(short, FILES)}.")
    return FILES[short]
