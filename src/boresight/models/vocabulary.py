"""Tokens that a model has no embedding for, because its tokenizer has more tokens than it has embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from boresight.core.errors import UserError
from boresight.data.rows import Row
from boresight.models.policy import Policy

if TYPE_CHECKING:
    import numpy as np


def refuse_unknown_tokens(model: Policy, sequences: Iterable[np.ndarray]) -> None:
    """Raise a `UserError` for an id that the model has no embedding for.

    The lookup would raise an `IndexError`, and on a GPU make the device unusable for the whole process.
    """
    known = model.config.get_text_config().vocab_size
    largest = max((int(ids.max()) for ids in sequences if len(ids)), default=0)
    if largest >= known:
        raise UserError(
            f"model: the text contains the token {largest:,}, and the model has embeddings for {known:,} "
            "tokens: its tokenizer has more; take both from one place, or resize the embeddings."
        )


def refuse_unknown_tokens_in(model: Policy, rows: Sequence[Row]) -> None:
    """The same for prompts and completions of rows."""
    refuse_unknown_tokens(model, (row.prompt for row in rows))
    refuse_unknown_tokens(model, (completion.ids for row in rows for completion in row.completions))
