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
"""Template for a tokenizer that has none."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about a model, from its headers. `chat_template` is the setting for the recipe: None if the
    tokenizer has a template."""

    size: Size
    longest: int
    """Context length of the model, tokens."""
    chat_template: str | None


def look_at_model(name: str) -> tuple[ModelFacts, Tokenizer]:
    """Read config, headers and tokenizer of a model; its weights are not loaded.

    Raises:
        UserError: no such model, or one that cannot be trained here.
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
    """The template that the recipe must name; the tokenizer has it from now on."""
    if tokenizer.chat_template is not None:
        ensure_chat_template(tokenizer)
        return None
    try:
        ensure_chat_template(tokenizer, FALLBACK)
        return FALLBACK
    except UserError:  # a tokenizer without special tokens for turns
        ensure_chat_template(tokenizer, "plain")
        return "plain"
