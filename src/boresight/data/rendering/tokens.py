"""Convert rendered text to token rows, with a loss mask that is found by position, not by token id.

A row is tokenized as one text. If a token would span the end of a context and the beginning of a turn, which
generation never produces, the text is split there and its parts are tokenized separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from boresight.data.rendering.examples import Continuation, Rendered
from boresight.data.rows import Completion, Row
from boresight.data.stop_tokens import EndOfTurn
from boresight.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding


def assemble(rendered: Rendered, encodings: Sequence[Encoding], tokenizer: Tokenizer, end: EndOfTurn) -> Row:
    """Build a row from the encodings of `rendered.texts`, which were made without adding special tokens."""
    prompt = np.asarray(encodings[0].ids, dtype=np.int32)
    completions = []
    for continuation, encoding in zip(rendered.continuations, encodings[1:], strict=True):
        whole = _whole(rendered, prompt, continuation, encoding, end)
        completions.append(whole or _in_parts(rendered, continuation, tokenizer, end))
    return Row(rendered.id, prompt, tuple(completions), scores=rendered.scores)


def _whole(
    rendered: Rendered, prompt: np.ndarray, text: Continuation, encoding: Encoding, end: EndOfTurn
) -> Completion | None:
    """Build a completion from one encoding; None if a turn does not begin at a token boundary."""
    ids = np.asarray(encoding.ids, dtype=np.int32)
    if not np.array_equal(ids[: len(prompt)], prompt):
        return None
    mask = np.zeros(len(ids), dtype=bool)
    for start, stop in text.spans:
        first = len(prompt) if start == len(rendered.prompt) else _first_token(encoding, start, stop)
        last = encoding.char_to_token(stop - len(end.text))
        if first is None or last is None:
            return None
        mask[first : last + 1] = True
    return Completion(ids[len(prompt) :], mask[len(prompt) :])


def _first_token(encoding: Encoding, start: int, stop: int) -> int | None:
    """Return the index of the first token of the span; None if that token contains earlier characters too.

    Some tokenizers assign a leading space to no token; then the token of the next character contains it.
    """
    for position in range(start, stop):
        token = encoding.char_to_token(position)
        if token is not None:
            return token if encoding.offsets[token][0] >= start else None
    return None


def _in_parts(rendered: Rendered, text: Continuation, tokenizer: Tokenizer, end: EndOfTurn) -> Completion:
    """Build a completion from separate encodings of the parts that begin with a turn."""
    scored = dict(text.spans)
    starts = sorted({len(rendered.prompt), *scored})
    ids: list[int] = []
    mask: list[bool] = []
    for start, stop in pairwise([*starts, len(text.text)]):
        part, offsets = _encode_alone(text.text[start:stop], tokenizer, end)
        turn = scored.get(start, start) - start
        ids += part
        mask += [begin < turn for begin, _ in offsets]
    return Completion(np.asarray(ids, dtype=np.int32), np.asarray(mask, dtype=bool))


def _encode_alone(text: str, tokenizer: Tokenizer, end: EndOfTurn) -> tuple[list[int], list[tuple[int, int]]]:
    """Encode text from the middle of a conversation; return its token ids and their character spans.

    The text is encoded after a special token, so that tokenizers which insert a space before a text do not do
    so here. A special token that removes white space after it is not used for this.
    """
    added = tokenizer.added_tokens_decoder[end.id]
    lead = "" if added.rstrip else end.text
    encoding = tokenizer.backend_tokenizer.encode(lead + text, add_special_tokens=False)
    skip = 1 if lead else 0
    return encoding.ids[skip:], [(a - len(lead), b - len(lead)) for a, b in encoding.offsets[skip:]]
