"""Rows of one example, as `boresight.data.tokenize` makes them in bulk; refusals are raised."""

from __future__ import annotations

from boresight.core.schema import Demonstration, Example, Preference
from boresight.data.rendering.examples import render_example
from boresight.data.rendering.tokens import assemble
from boresight.data.rows import Row
from boresight.data.stop_tokens import end_of_turn
from boresight.data.tokenizer import Tokenizer


def encode_preference(tokenizer: Tokenizer, example: Preference) -> Row:
    """A row with two completions, chosen first."""
    (row,) = _rows(tokenizer, example)
    return row


def encode_demonstration(tokenizer: Tokenizer, example: Demonstration) -> list[Row]:
    """Rows with one completion: one row, or one for each assistant's turn."""
    return _rows(tokenizer, example)


def _rows(tokenizer: Tokenizer, example: Example) -> list[Row]:
    end = end_of_turn(tokenizer)
    encode = tokenizer.backend_tokenizer.encode_batch
    return [
        assemble(rendered, encode(rendered.texts, add_special_tokens=False), tokenizer, end)
        for rendered in render_example(tokenizer, example, end)
    ]
