"""The examples that the checks of text look at, of data that are larger than memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from boresight.checks.data.examples import Examples, some_in_memory
from boresight.core.schema import Labeled
from boresight.data.stored import examples as stored_examples
from boresight.data.stored.examples import example_bytes
from boresight.runs.check.preflight import label_counts, row_counts
from tests.checks import builders as b


def test_all_examples_of_some_prompts_are_looked_at(monkeypatch):
    """Half of the bytes: four examples of each prompt, of the last one what there is room for."""
    prompts = [pair.prompt for pair in b.pairs(100)]
    pairs = [replace(pair, prompt=prompts[n % 100]) for n, pair in enumerate(b.pairs(400))]
    assert some_in_memory(pairs) == pairs
    monkeypatch.setattr(stored_examples, "IN_MEMORY", sum(map(example_bytes, pairs)) // 2)
    some = some_in_memory(pairs)
    assert 190 <= len(some) <= 210 and [p for p in pairs if p in some] == some
    assert sorted(Counter(str(p.prompt) for p in some).values())[1:] == [4] * (-(-len(some) // 4) - 1)


def test_everything_is_counted_whatever_is_looked_at():
    turns = b.pairs(1)[0]
    labeled = [Labeled(turns.prompt, turns.chosen, n % 3 == 0, str(n)) for n in range(30)]
    examples = Examples(labeled[:3], all_train=labeled)
    assert label_counts(examples) == (10, 20) and row_counts(examples, None)[0] == 30
    assert len(examples.trained_keys) == 1
