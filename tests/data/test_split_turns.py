"""Conversations that are several rows: how many, said once, and kept with the run."""

from __future__ import annotations

import io
import json
from functools import partial

import pytest
from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.data.prepare import DatasetCache, prepare, prepare_few
from tests.tiny import tiny_tokenizer


def turns(*said):
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": words} for n, words in enumerate(said)]}


@pytest.fixture
def prepared(tmp_path):
    """What is prepared under a template, and what was printed; two of three have several turns."""
    rows = [turns("one", "red", "two", "blue"), turns("x", "green"), turns("a", "b", "c", "d", "e", "f")]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(template, prepare=prepare):
        data = {"train": str(tmp_path / "chats.jsonl"), "eval_rows": 0}
        recipe = Recipe.parse({"method": {"name": "sft"}, "data": data, "optim": {"lr": 1e-3}})
        text = io.StringIO()
        found = prepare(
            DatasetCache().of(recipe, "demonstration"), tiny_tokenizer(template), Console(file=text)
        )
        return found.train, " ".join(text.getvalue().split())

    return make


def test_rows_and_tokens_that_are_added_are_counted(prepared):
    side, printed = prepared("qwen3")
    assert [row.id for row in side.rows] == [
        "row-1.turn-1", "row-1.turn-2", "row-2", "row-3.turn-1", "row-3.turn-2", "row-3.turn-3",
    ]  # fmt: skip
    added = sum(side.rows[n].tokens for n in (0, 3, 4))
    assert side.facts["split_turns"] == {"conversations": 2, "rows": 3, "tokens": added}
    assert side.facts["rows"] == side.facts["kept"] == 6
    assert [example.id for example in side.examples] == ["row-1", "row-2", "row-3"]
    assert "so 2 conversations have a row for each assistant's turn, as generation sees it" in printed
    assert f": 3 more rows and {added} more tokens" in printed


def test_a_template_that_writes_all_turns_alike_has_one_row_each(prepared):
    side, printed = prepared("chatml")
    assert [row.id for row in side.rows] == ["row-1", "row-2", "row-3"]
    assert "split_turns" not in side.facts and "more rows" not in printed


def test_few_rows_come_with_the_examples_that_they_are_made_from(prepared):
    """More rows than examples: the rehearsal of `check` ended here, and said that it could not look."""

    def two(data, tokenizer, console):
        return prepare_few(data, tokenizer, console, count=2)

    side, _ = prepared("qwen3", two)
    assert [row.id for row in side.rows] == ["row-2", "row-3.turn-1"]
    assert [example.id for example in side.examples] == ["row-2", "row-3"]
    every, _ = prepared("qwen3", partial(prepare_few, count=4))
    assert len(every.rows) == 4 and len(every.examples) <= 3
