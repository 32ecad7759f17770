"""Facts about the model that a first recipe depends on: its template, its context length and its memory."""

from __future__ import annotations

from dataclasses import dataclass

from boresight.core.errors import UserError
from boresight.data.rendering.choose import ensure_chat_template
from boresight.data.tokenizer import Tokenizer
from boresight.models.checkpoint.leftovers import Allowed
from boresight.models.checkpoint.skeleton import whole_skeleton
from boresight.models.load import load_tokenizer
from boresight.models.policy import longest_sequence
from boresight.models.source import locate
from boresight.runs.doctor import Size
from boresight.training.footprint.layer import Shape

FALLBACK = "chatml"
"""Chat template that is tried first for a tokenizer without one; `plain` is the alternative."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about a model, read from its config, the headers of its weights and its tokenizer.

    `chat_template` is the value of `model.chat_template` for the recipe; None if the tokenizer has a
    template.
    """

    size: Size
    longest: int
    """Context length of the model, in tokens."""
    chat_template: str | None


def look_at_model(name: str) -> tuple[ModelFacts, Tokenizer]:
    """Read config, headers and tokenizer of a model without its weights; return the facts and the tokenizer.

    Raises:
        UserError: there is no such model, or it cannot be trained here.
    """
    tokenizer = load_tokenizer(name)
    template = _template(tokenizer)
    model = whole_skeleton(locate(name), name, "lm", Allowed())
    shape = Shape.of(model.config)
    size = Size(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layers=shape.layers,
        hidden=shape.hidden,
        intermediate=shape.intermediate,
        kv=shape.kv,
    )
    return ModelFacts(size, longest_sequence(model), template), tokenizer


def _template(tokenizer: Tokenizer) -> str | None:
    """Give the tokenizer a chat template if it has none, and return the template's name for the recipe.

    Returns None if the tokenizer has a template of its own.
    """
    if tokenizer.chat_template is not None:
        ensure_chat_template(tokenizer)
        return None
    try:
        ensure_chat_template(tokenizer, FALLBACK)
        return FALLBACK
    except UserError:  # a tokenizer without special tokens for turns
        ensure_chat_template(tokenizer, "plain")
        return "plain"
