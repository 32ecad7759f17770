"""Length policies, and that every example is accounted for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration, Preference, Prompt
from boresight.data.tokenize import CHUNK, tokenize
from tests.data.test_chat import assistant, pair, user
from tests.encode import encode_demonstration, encode_preference
from tests.tiny import tiny_tokenizer


def examples():
    """Prompt lengths are equal; the answers have 2, 9 and 30 letters in their longer side."""
    return [Preference([user("q")], [assistant("x" * n)], [assistant("z")], id=f"n{n}") for n in (2, 9, 30)]


def length_of(tokenizer, example):
    row = encode_preference(tokenizer, example)
    return len(row.prompt) + max(len(c.ids) for c in row.completions)


def test_rows_are_those_of_the_single_encoders():
    tokenizer = tiny_tokenizer()
    demo = Demonstration([user("a"), assistant("red"), user("b"), assistant("blue")], id="d")
    result = tokenize([pair(), demo], tokenizer, max_length=500)
    for row, one in zip(
        result.rows,
        [encode_preference(tokenizer, pair()), *encode_demonstration(tokenizer, demo)],
        strict=True,
    ):
        assert row.id == one.id
        assert np.array_equal(row.prompt, one.prompt)
        for completion, other in zip(row.completions, one.completions, strict=True):
            assert np.array_equal(completion.ids, other.ids)
            assert np.array_equal(completion.mask, other.mask)


def test_order_survives_several_chunks():
    many = [pair(question=str(i)) for i in range(2 * CHUNK + 3)]
    result = tokenize(many, tiny_tokenizer(), max_length=500)
    assert result.total == len(result.rows) == len(many)
    tokenizer = tiny_tokenizer()
    for i in (0, CHUNK - 1, CHUNK, 2 * CHUNK + 2):
        assert f"user\n{i}<" in tokenizer.decode(result.rows[i].prompt)


def test_the_limit_itself_fits():
    tokenizer = tiny_tokenizer()
    example = examples()[1]
    n = length_of(tokenizer, example)
    assert len(tokenize([example], tokenizer, max_length=n).rows) == 1
    assert len(tokenize([example], tokenizer, max_length=n - 1).rows) == 0


def test_drop_counts_and_says_why():
    tokenizer = tiny_tokenizer()
    limit = length_of(tokenizer, examples()[1])
    result = tokenize(examples(), tokenizer, max_length=limit, truncation="drop")
    assert [row.id for row in result.rows] == ["n2", "n9"]
    assert (result.total, result.truncated) == (3, 0)
    ((id, reason),) = result.dropped
    assert id == "n30"
    assert reason.startswith("too long, prompt and longest answer have ")


def test_cut_takes_the_end_and_marks_the_row():
    tokenizer = tiny_tokenizer()
    limit = length_of(tokenizer, examples()[1])
    result = tokenize(examples(), tokenizer, max_length=limit, truncation="cut")
    assert [row.truncated for row in result.rows] == [False, False, True]
    assert result.truncated == 1 and not result.dropped
    chosen, rejected = result.rows[2].completions
    whole = encode_preference(tokenizer, examples()[2]).completions[0]
    assert len(result.rows[2].prompt) + len(chosen.ids) == limit
    assert np.array_equal(chosen.ids, whole.ids[: len(chosen.ids)])
    assert tokenizer.decode(chosen.ids).strip("x") == ""  # the end of turn is lost
    assert tokenizer.decode(rejected.ids) == "z<|im_end|>"  # the short side keeps its own


@pytest.mark.parametrize("truncation", ["drop", "cut"])
def test_a_prompt_that_fills_the_limit_is_left_out(truncation):
    tokenizer = tiny_tokenizer()
    prompt = len(encode_preference(tokenizer, pair()).prompt)
    result = tokenize([pair()], tokenizer, max_length=prompt, truncation=truncation)
    assert not result.rows
    assert result.dropped[0][1].startswith("too long, the prompt alone has ")


def test_error_names_the_first():
    tokenizer = tiny_tokenizer()
    limit = length_of(tokenizer, examples()[0])
    with pytest.raises(UserError, match=r"^row 'n9': too long, .*; raise data\.max_length\.$"):
        tokenize(examples(), tokenizer, max_length=limit, truncation="error")


def nameless():
    """A pair that the gemma-like template refuses."""
    return Preference(
        [{"role": "system", "content": "x"}, user("y")], [assistant("a")], [assistant("b")], "s"
    )


def test_a_row_the_template_refuses_is_left_out_and_counted():
    result = tokenize([pair(), nameless()], tiny_tokenizer("gemma"), max_length=500)
    assert len(result.rows) == 1
    ((id, reason),) = result.dropped
    assert id == "s"
    assert reason.startswith("the chat template refuses these messages: System role not supported;")


def test_a_template_that_suits_no_row_is_an_error():
    """Otherwise the run would go on to say that max_length is too small."""
    with pytest.raises(UserError, match="System role not supported"):
        tokenize([nameless()] * 2, tiny_tokenizer("gemma"), max_length=500)


def test_prompts_make_rows_without_completions():
    (row,) = tokenize([Prompt([user("q")], id="p")], tiny_tokenizer(), max_length=500).rows
    assert row.completions == ()
    assert len(row.prompt)


def test_no_examples():
    result = tokenize([], tiny_tokenizer(), max_length=10)
    assert (result.rows, result.total, result.truncated, result.dropped) == ([], 0, 0, [])


def test_a_terminal_shows_a_bar_that_goes_away():
    screen = io.StringIO()
    tokenize([pair()], tiny_tokenizer(), max_length=500, console=Console(file=screen, force_terminal=True))
    assert "tokenizing" in screen.getvalue()
    plain = io.StringIO()
    tokenize([pair()], tiny_tokenizer(), max_length=500, console=Console(file=plain))
    assert plain.getvalue() == ""
