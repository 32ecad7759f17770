"""Refuse sequences that a model cannot run: token ids without an embedding, and positions beyond its table.

Both would raise an `IndexError` in a table lookup, and on a GPU make the device unusable for the whole
process.
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
"""Names of buffers with precomputed positions, in GPT-J, CodeGen and CTRL."""
SPARE = 2
"""Number of rows of OPT's position table that are reserved for padding."""

_tables: WeakKeyDictionary[PreTrainedModel, int | None] = WeakKeyDictionary()


def position_table(model: Policy) -> int | None:
    """Return the size of the model's table of positions, in tokens; None if it has no table and no such
    limit.

    Tables are learned positions (GPT-2, OPT), precomputed angles (GPT-J), and the precomputed biases of MPT.
    Rotary positions and the biases of BLOOM are computed for every length.
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
    """Whether a table of positions belongs to the text model: a vision tower's has as many rows as an image
    has patches."""
    return longest <= table.num_embeddings <= longest + SPARE


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def refuse_unreadable(model: Policy, sequences: Iterable[np.ndarray]) -> None:
    """Raise a `UserError` if the model cannot run one of the sequences of token ids, each `(tokens,)`."""
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
    """Raise a `UserError` if the model cannot run a prompt, a completion, or a prompt with its completion."""
    refuse_unreadable(model, (row.prompt for row in rows))
    refuse_unreadable(model, (completion.ids for row in rows for completion in row.completions))
    refuse_longer(model, max((len(r.prompt) + len(c.ids) for r in rows for c in r.completions), default=0))


def refuse_longer(model: Policy, tokens: int) -> None:
    """Raise a `UserError` if a sequence of `tokens` tokens exceeds the model's table of positions."""
    table = position_table(model)
    if table is not None and tokens > table:
        raise UserError(
            f"model: the text has {tokens:,} tokens, and the model's table of positions ends at {table:,}; "
            "shorten the text, or take a model with more positions."
        )


def room_for_answers(context: int | None, prompts: Sequence[int]) -> list[int | None]:
    """Return the number of tokens left for an answer to each prompt; 0 if the prompt fills the context.

    Args:
        context: maximum number of tokens of a sequence; None for no limit, which gives None for each prompt.
        prompts: lengths of the prompts, in tokens.
    """
    return [None if context is None else max(0, context - tokens) for tokens in prompts]
