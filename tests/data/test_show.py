"""What a person sees of a row, with and without colour."""

from __future__ import annotations

import io

from rich.console import Console

from boresight.core.schema import Demonstration
from boresight.data.show import show_rows
from boresight.data.tokenize import tokenize
from tests.data.test_chat import assistant, pair, user
from tests.tiny import tiny_tokenizer


def shown(example, colour=False, max_length=500, n=3):
    tokenizer = tiny_tokenizer()
    rows = tokenize([example], tokenizer, max_length=max_length, truncation="cut").rows
    screen = io.StringIO()
    console = Console(
        file=screen, force_terminal=colour, width=100, color_system="standard" if colour else None
    )
    show_rows(rows, tokenizer, console, n)
    return screen.getvalue()


def lines(text):
    return [line.strip() for line in text.splitlines()]


def test_brackets_tell_what_is_scored_where_there_is_no_colour():
    turns = [user("one"), assistant("red\nblue"), user("two"), assistant("green")]
    text = lines(shown(Demonstration(turns, id="demo")))
    at = text.index("⟦red↵")
    assert text[at + 1] == "blue<|im_end|>⟧↵"
    assert text[at + 2] == "<|im_start|>user↵"
    assert text[at + 5] == "⟦green<|im_end|>⟧"


def test_colours():
    """Green (32) is scored, bold green the end-of-turn token, dim (2) the prompt."""
    text = shown(pair(), colour=True)
    assert "\x1b[32mred\x1b[0m\x1b[1;32m<|im_end|>\x1b[0m" in text
    assert "\x1b[2muser↵" in text


def test_counts():
    text = shown(pair(chosen="abc"))
    assert "chosen · 4 tokens, 4 scored" in text
    assert "1 rows" not in text
    assert "1 row ·" in text


def test_model_text_is_neither_markup_nor_terminal_control():
    text = shown(pair(chosen="[bold]x[/bold] \x1b[31mred \u202eoops \x07 \x9b2J"))
    assert "[bold]x[/bold] ␛[31mred ‹U+202E›oops ␇ ‹U+009B›2J" in text
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)


def test_characters_of_several_tokens_stay_whole():
    assert "⟦🎉é<|im_end|>⟧" in shown(pair(chosen="🎉é"))


def test_a_cut_row_says_so():
    assert "cut at max_length" in shown(pair(chosen="x" * 60), max_length=60)
