"""Which rows a step sees, and which share a forward."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.data.batching import REPEATED, micro_batches, plan
from boresight.data.rows import Completion, Row, with_prompt_numbers


def row(prompt: int, *completions: int) -> Row:
    ids = [np.zeros(n, np.int32) for n in completions]
    return Row("r", np.zeros(prompt, np.int32), tuple(Completion(i, i == 0) for i in ids))


@given(rows=st.integers(1, 40), batch=st.integers(1, 9), epochs=st.integers(1, 3), seed=st.integers(0, 5))
def test_every_epoch_sees_every_row_once(rows, batch, epochs, seed):
    order = plan(rows, batch, epochs=epochs, steps=None, seed=seed)
    seen = [i for step in range(order.steps) for i in order.indices(step)]
    assert len(seen) == rows * epochs
    for epoch in range(epochs):
        assert sorted(seen[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


def test_only_the_last_batch_is_short():
    order = plan(10, 4, epochs=1.5, steps=None, seed=0)
    assert [len(order.indices(step)) for step in range(order.steps)] == [4, 4, 4, 3]
    with pytest.raises(IndexError):
        order.indices(order.steps)


def test_epochs_differ_and_seeds_differ():
    order = plan(50, 50, epochs=2, steps=None, seed=0)
    assert order.indices(0) != order.indices(1)
    assert order.indices(0) != plan(50, 50, epochs=1, steps=None, seed=1).indices(0)


def test_used_lists_only_rows_that_a_step_sees():
    order = plan(100, 4, epochs=None, steps=3, seed=0)
    assert len(order.used()) == 12
    assert set(order.used()) == {i for step in range(3) for i in order.indices(step)}


def packed_tokens(rows):
    """Every distinct prompt once, and all completions."""
    prompts = {r.prompt.tobytes(): len(r.prompt) for r in rows}
    return sum(prompts.values()) + sum(len(c.ids) for r in rows for c in r.completions)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=20), st.integers(10, 80)
)
def test_micro_batches_keep_the_budget_and_every_row(sizes, budget):
    """Prompts of one length are one prompt here."""
    rows = [row(p, c, c) for p, c in sizes]
    groups = micro_batches(rows, budget)
    assert sorted(id(r) for group in groups for r in group) == sorted(id(r) for r in rows)
    for group in groups:
        assert len(group) == 1 or packed_tokens(group) <= budget
        assert len(group) == 1 or sum(r.tokens for r in group) <= REPEATED * budget


def test_prompts_are_numbered_in_the_order_in_which_they_appear():
    """Equal tokens are one prompt, whatever the rows are called; [1] and [1, 0] are two."""
    prompts = [[5], [1, 0], [5], [1], [1, 0]]
    rows = [replace(row(1, 1), id=str(i), prompt=np.array(p, np.int32)) for i, p in enumerate(prompts)]
    assert [(r.id, number) for r, number in with_prompt_numbers(iter(rows))] == [
        ("0", 0), ("1", 1), ("2", 0), ("3", 2), ("4", 1),
    ]  # fmt: skip


def test_rows_with_one_prompt_come_together_and_it_counts_once():
    """Prompts of 6 and 5 tokens: 6 + 4 + 3 + 2 = 15 fill a group, as do 5 + 9 alone."""
    rows = [row(6, 2), row(5, 9), row(6, 4), row(6, 3)]
    assert micro_batches(rows, 15) == [[rows[1]], [rows[2], rows[3], rows[0]]]
    assert micro_batches(rows, 14) == [[rows[1]], [rows[2], rows[3]], [rows[0]]]


def test_a_prompt_that_many_rows_share_is_not_repeated_too_often_on_the_padded_path():
    """A prompt of 10 tokens, answers of 1: ten rows are 20 tokens packed, 110 with repeated prompts."""
    assert [len(group) for group in micro_batches([row(10, 1)] * 20, 20)] == [7, 7, 6]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(10, 80))
def test_distinct_prompts_go_longest_first_and_then_in_order(lengths, budget):
    rows = [replace(row(2, n), prompt=np.array([i, 0], np.int32)) for i, n in enumerate(lengths)]
    together = [r for group in micro_batches(rows, budget) for r in group]
    assert together == sorted(rows, key=lambda r: -r.tokens)
