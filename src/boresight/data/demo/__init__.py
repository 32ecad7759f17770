"""The data of `make demo`: prompts with a checkable constraint, and on-policy pairs ranked by the checks.

`recipes/synth-demo.yaml` made the pairs in this folder; `docs/demo-data.md` says how and from what.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
PAIRS = FOLDER / "pairs.jsonl.gz"
HELDOUT_PAIRS = FOLDER / "heldout_pairs.jsonl.gz"
HELDOUT_PROMPTS = FOLDER / "heldout_prompts.jsonl.gz"
TEST_PROMPTS = FOLDER / "test_prompts.jsonl.gz"
"""400 prompts about 100 other topics, which no setting is chosen by."""
