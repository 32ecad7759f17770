"""Print rows as token sequences, with scored tokens in color."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from boresight.core.wording import plural
from boresight.data.rows import Completion, Row
from boresight.data.tokenizer import Tokenizer

PROMPT, SCORED, UNSCORED = "dim", "green", "yellow"
SPECIAL = "bold"
OPEN, CLOSE = "⟦", "⟧"
"""Markers around scored tokens in output without color."""

# Characters that would move the cursor, or hide or reorder text: model output must not control the terminal.
CONTROLS = {code: chr(0x2400 + code) for code in range(0x20)} | {
    0x7F: "␡",
    ord("\n"): "↵\n",
    ord("\t"): "⇥   ",
}
INVISIBLE = [
    *range(0x80, 0xA0),
    0xAD,
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
]
VISIBLE = str.maketrans(CONTROLS | {code: f"‹U+{code:04X}›" for code in INVISIBLE})


def show_rows(rows: Sequence[Row], tokenizer: Tokenizer, console: Console, n: int = 3) -> None:
    """Print the first `n` rows: prompt, completions, special tokens, and the loss mask.

    Text is never interpreted as markup; control characters are shown as symbols. Without color, scored tokens
    are between `⟦` and `⟧`.
    """
    colour = console.is_terminal and not console.no_color
    special = frozenset(tokenizer.added_tokens_decoder)
    console.print(_legend(colour))
    for row in rows[:n]:
        console.print()
        console.print(Rule(Text(row.id.translate(VISIBLE), "bold"), align="left", style="dim"))
        _print_part(
            console, f"prompt · {plural(len(row.prompt), 'token')}", _prompt_text(row, tokenizer, special)
        )
        for i, completion in enumerate(row.completions):
            heading = (
                f"{_name(i, row)} · {plural(len(completion.ids), 'token')}, {completion.scored:,} scored"
            )
            _print_part(console, heading, _completion_text(completion, tokenizer, special, colour))
        if row.truncated:
            console.print(Text("cut at max_length: the end-of-turn token may be missing", "red"))
    console.print()
    console.print(_counts(rows[:n]), style="dim")


def _legend(colour: bool) -> Text:
    if not colour:
        return Text(f"{OPEN}scored{CLOSE}  prompt and template: not scored  ↵ newline")
    return Text.assemble(
        ("scored", SCORED), "  ", ("prompt", PROMPT), "  ", ("not scored", UNSCORED), "  ",
        ("<special token>", SPECIAL), "  ↵ newline",
    )  # fmt: skip


def _print_part(console: Console, heading: str, text: Text) -> None:
    console.print(Text(heading, "bold"))
    if text.plain.endswith("\n"):  # its ↵ is shown, and the next part starts on a new line
        text.right_crop(1)
    console.print(Padding(text, (0, 0, 0, 2), expand=False))


def _name(i: int, row: Row) -> str:
    if len(row.completions) == 2:
        return ("chosen", "rejected")[i]
    return "completion" if len(row.completions) == 1 else f"completion {i + 1}"


def _prompt_text(row: Row, tokenizer: Tokenizer, special: frozenset[int]) -> Text:
    text = Text()
    for piece, is_special in _pieces(row.prompt, tokenizer, special):
        text.append(piece, _style(PROMPT, is_special))
    return text


def _completion_text(
    completion: Completion, tokenizer: Tokenizer, special: frozenset[int], colour: bool
) -> Text:
    """Return the text of a completion, styled by its loss mask."""
    text = Text()
    edges = np.flatnonzero(np.diff(completion.mask)) + 1
    runs = zip(np.split(completion.ids, edges), np.split(completion.mask, edges), strict=True)
    for ids, mask in runs:
        scored = bool(mask[:1].any())
        opening, closing = (OPEN, CLOSE) if scored and not colour else ("", "")
        text.append(opening)
        for piece, is_special in _pieces(ids, tokenizer, special):
            text.append(piece, _style(SCORED if scored else UNSCORED, is_special))
        text.append(closing)
    return text


def _pieces(ids: np.ndarray, tokenizer: Tokenizer, special: frozenset[int]) -> Iterator[tuple[str, bool]]:
    """Yield decoded runs of ordinary and of special tokens, and whether a run is special.

    Tokens are decoded in runs, since one character may need several tokens.
    """
    for is_special, run in groupby(ids.tolist(), key=special.__contains__):
        piece = tokenizer.decode(list(run), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        yield piece.translate(VISIBLE), is_special


def _style(base: str, is_special: bool) -> str:
    return f"{base} {SPECIAL}" if is_special else base


def _counts(rows: Sequence[Row]) -> Text:
    prompt = sum(len(row.prompt) for row in rows)
    completions = [c for row in rows for c in row.completions]
    tokens, scored = sum(len(c.ids) for c in completions), sum(c.scored for c in completions)
    noun = "row" if len(rows) == 1 else "rows"
    return Text(
        f"{len(rows):,} {noun} · {prompt:,} prompt tokens · {tokens:,} completion tokens, {scored:,} scored"
    )
