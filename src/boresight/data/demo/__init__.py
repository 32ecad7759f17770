"""Data of `boresight train demo`: prompts with a checkable constraint, on-policy pairs ranked by checks.

    demo:pairs              272 training pairs
    demo:heldout-pairs      87 pairs for held-out accuracy
    demo:heldout-prompts    64 prompts, answered before and after
    demo:test-prompts       400 prompts about 100 other topics, which no setting is chosen by
    demo:leaking-pairs      147 pairs that leak their label, made to be compared with

The recipe `synth-demo` made the pairs in this folder; `docs/demo-data.md` describes how and from what.
"""

from __future__ import annotations

from pathlib import Path

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError

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
"""Files by the name of their source."""


def data_path(source: str | Path) -> Path:
    """Path of a source of data: of this package's file for `demo:NAME`, else the source itself.

    Raises:
        UserError: the demo has no file of that name.
    """
    name = str(source)
    if not name.startswith(PREFIX):
        return Path(source)
    short = name.removeprefix(PREFIX)
    if short not in FILES:
        raise UserError(f"{name}: the demo has no data of that name{nearest(short, FILES)}.")
    return FILES[short]
