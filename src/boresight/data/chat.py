"""Encode a single conversation as tokens: a prompt, an answer to a prompt, or a whole conversation.

Training data are encoded in bulk (`boresight.data.tokenize`), with the same rendering.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from boresight.core.schema import Message
from boresight.data.rendering.examples import Continuation, Rendered
from boresight.data.rendering.tokens import assemble
from boresight.data.rendering.turns import Renderer, write_messages
from boresight.data.rows import Row
from boresight.data.stop_tokens import EndOfTurn, end_of_turn
from boresight.data.tokenizer import Tokenizer


def encode_last_turn(tokenizer: Tokenizer, messages: Sequence[Message], id: str) -> Row:
    """Encode a conversation as a row whose only completion is the last turn, which is the assistant's.

    Raises:
        UserError: as `Renderer.turn` does.
    """
    end = end_of_turn(tokenizer)
    turn = Renderer(tokenizer, end, id).turn(messages)
    prompt = turn.text[: turn.start]
    return _to_row(tokenizer, Rendered(id, prompt, (Continuation(turn.text, (turn.span,)),)), end)


def encode_answer(tokenizer: Tokenizer, messages: Sequence[Message], answer: str, id: str) -> Row:
    """Encode a conversation and a generated answer, with any content, as a row with one completion.

    The answer follows the generation prompt unchanged, as the model generated it, and the end-of-turn token
    is appended. The chat template is not applied to the answer, since it may refuse the answer or render it
    differently.

    Raises:
        UserError: the template refuses the messages before the answer, so that no answer could be generated.
    """
    end = end_of_turn(tokenizer)
    prompt = write_messages(tokenizer, messages, id, ask=True)
    text = f"{prompt}{answer}{end.text}"
    return _to_row(tokenizer, Rendered(id, prompt, (Continuation(text, ((len(prompt), len(text)),)),)), end)


def encode_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> np.ndarray:
    """Return the token ids of a conversation with the generation prompt, int32 `(length,)`.

    Raises:
        UserError: the chat template refuses the messages.
    """
    text = write_messages(tokenizer, messages, "prompt", ask=True)
    # Without special tokens: the template has written BOS already, if the model has one.
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return np.asarray(ids, dtype=np.int32)


def encode_conversation(tokenizer: Tokenizer, messages: Sequence[Message]) -> np.ndarray:
    """Return the token ids of a conversation as the template renders it, int32 `(length,)`.

    Text that the template adds after the last message is included.
    """
    text = write_messages(tokenizer, messages, "conversation")
    ids = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    return np.asarray(ids, dtype=np.int32)


def _to_row(tokenizer: Tokenizer, rendered: Rendered, end: EndOfTurn) -> Row:
    encodings = tokenizer.backend_tokenizer.encode_batch(rendered.texts, add_special_tokens=False)
    return assemble(rendered, encodings, tokenizer, end)
