"""Test a loaded model with a forward of a few tokens.

The model must run, and its outputs must be finite, depend on the tokens, and not depend on later tokens. An
encoder such as BERT can be loaded as a language model, but it attends to the tokens that it should predict,
so its log-probabilities are not those of next tokens. Weights that contain NaN can be loaded without an
error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from boresight.core.errors import UserError
from boresight.models.checkpoint.finite import refuse_not_finite
from boresight.models.checkpoint.pretrained import one_sentence

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHARED, LENGTH = 4, 8
"""Number of common first tokens of the two test sequences, and the length of each, in tokens."""
BAND = {torch.float64: 1e-5, torch.float32: 1e-3}
"""Maximum difference that counts as rounding, by dtype, relative to the largest absolute output."""
HALF_BAND = 0.05
"""Maximum difference that counts as rounding in half precision, relative to the largest absolute output."""


def refuse_unusable(model: PreTrainedModel, name: str) -> None:
    """Test a decoder, with an output head of either kind, on two short sequences that share their first
    tokens.

    Raises:
        UserError: the model cannot run, returns NaN or infinity, returns the same for all tokens, or its
            output at a token depends on later tokens.
    """
    kind = type(model).__name__
    refuse_not_finite(model.named_parameters(), name)
    one, other = _outputs(model, name)
    if not (one.isfinite().all() and other.isfinite().all()):
        raise UserError(
            f"model: {kind} of {name!r} returns NaN or infinity for a few tokens although its weights "
            "contain neither; take an earlier checkpoint or another copy."
        )
    if torch.equal(torch.cat([one, other]), one[:1].expand(2 * LENGTH, -1)):
        raise UserError(
            f"model: {kind} of {name!r} returns the same for every text: weights on the way to its output are"
            " zero; take an earlier checkpoint or another copy."
        )
    difference = (one[:SHARED] - other[:SHARED]).abs().max()
    if difference > BAND.get(one.dtype, HALF_BAND) * one.abs().max():
        raise UserError(
            f"model: {kind} of {name!r} attends to the tokens that it should predict: it is an encoder and "
            "not a causal language model; take a decoder."
        )


def _outputs(model: PreTrainedModel, name: str) -> tuple[Tensor, Tensor]:
    """Return the outputs for both test sequences, each `(tokens, width)`.

    These are logits, or the last hidden states if the model has a score head.
    """
    vocabulary = model.config.get_text_config().vocab_size
    ids = (torch.arange(2 * LENGTH - SHARED, device=model.device) * 7919 + 3) % vocabulary
    pair = torch.stack([ids[:LENGTH], torch.cat([ids[:SHARED], ids[LENGTH:]])])
    with one_sentence(name, "model"), torch.no_grad():
        if model.get_output_embeddings() is None:
            one, other = model.base_model(input_ids=pair, use_cache=False)[0]
        else:
            one, other = model(input_ids=pair, use_cache=False).logits
    return one, other
