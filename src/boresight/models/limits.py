"""Sequences that a model cannot run: tokens without an embedding, tokens beyond its table of positions.

Both lookups would raise an `IndexError`, and on a GPU make the device unusable for the whole process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from boresight.core.errors import UserError
from boresight.data.rows import Row
from boresight.models.policy import Policy, causal_model, longest_sequence

if TYPE_CHECKING:
    import numpy as np
    from torch import nn
    from transformers import PreTrainedModel

TABLES = ("embed_positions", "pos_encoding")
"""Buffers of positions computed once, of GPT-J, CodeGen and CTRL."""
SPARE = 2
"""Rows that OPT's table has for padding."""

_tables: WeakKeyDictionary[PreTrainedModel, int | None] = WeakKeyDictionary()


def position_table(model: Policy) -> int | None:
    """Size of the model's table of positions, in tokens; None if any position can be computed.

    Tables are learned positions (GPT-2, OPT), angles computed once (GPT-J), and biases that MPT builds
    beforehand. Rotary positions and the biases of BLOOM are computed for every length.
    """
    whole = causal_model(model)
    if whole not in _tables:
        _tables[whole] = _table_of(whole)
    return _tables[whole]


def _table_of(model: PreTrainedModel) -> int | None:
    from torch import nn

    longest = longest_sequence(model)
    computed = any(_last(name) in TABLES for name, _ in model.named_buffers())
    ends = [longest] if computed or model.config.model_type == "mpt" else []
    for name, module in model.named_modules():
        named = "pos" in _last(name) or _last(name) == "wpe"
        if named and isinstance(module, nn.Embedding) and _is_of_text(module, longest):
            first = 0 if module.padding_idx is None else module.padding_idx + 1  # as RoBERTa's
            ends.append(min(longest, module.num_embeddings - first))
    return min(ends, default=None)


def _is_of_text(table: nn.Embedding, longest: int) -> bool:
    """Whether it is not that of a vision tower, which has as many rows as an image has patches."""
    return longest <= table.num_embeddings <= longest + SPARE


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def refuse_unreadable(model: Policy, sequences: Iterable[np.ndarray]) -> None:
    """Raise a `UserError` for token ids `(tokens,)` that the model cannot run."""
    sequences = list(sequences)
    known = model.config.get_text_config().vocab_size
    largest = max((int(ids.max()) for ids in sequences if len(ids)), default=0)
    if largest >= known:
        raise UserError(
            f"model: the text contains the token {largest:,}, and the model has embeddings for {known:,} "
            "tokens: its tokenizer has more; take both from one place, or resize the embeddings."
        )
    refuse_longer(model, max(map(len, sequences), default=0))


def refuse_unreadable_rows(model: Policy, rows: Sequence[Row]) -> None:
    """Raise a `UserError` for rows whose prompts or completions the model cannot run."""
    refuse_unreadable(model, (row.prompt for row in rows))
    refuse_unreadable(model, (completion.ids for row in rows for completion in row.completions))
    refuse_longer(model, max((len(r.prompt) + len(c.ids) for r in rows for c in r.completions), default=0))


def refuse_longer(model: Policy, tokens: int) -> None:
    """Raise a `UserError` for a sequence of more tokens than the model's table of positions has."""
    table = position_table(model)
    if table is not None and tokens > table:
        raise UserError(
            f"model: the text has {tokens:,} tokens, and the model's table of positions ends at {table:,}; "
            "shorten the text, or take a model with more positions."
        )


def room_for_answers(context: int | None, prompts: Sequence[int]) -> list[int | None]:
    """Tokens left for an answer to prompts of these lengths within `context` tokens; 0 if a prompt fills it.

    None means no limit, as in a model without a table of positions.
    """
    return [None if context is None else max(0, context - tokens) for tokens in prompts]
