"""Checks of the model and its tokenizer: stop tokens, trainable parameters, and precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from boresight.checks.forecast.bf16 import movable_share
from boresight.config.recipe import Recipe
from boresight.core.wording import percent
from boresight.data.stop_tokens import EndOfTurn
from boresight.data.tokenizer import Tokenizer
from boresight.findings.finding import Finding, error, graded, note, warning
from boresight.models.dropout import dropout_rates
from boresight.models.kernels.split_weights import place_of
from boresight.models.limits import position_table
from boresight.models.policy import Policy, causal_model, longest_sequence

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Wiring:
    """A model ready for training, or one without weights (on torch's `meta` device) made from its config."""

    model: Policy
    tokenizer: Tokenizer
    end: EndOfTurn
    recipe: Recipe

    @property
    def config(self) -> PreTrainedConfig:
        """The model's configuration."""
        return self.model.config

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters."""
        return list(self.model.parameters())


def end_of_turn_does_not_stop(wiring: Wiring) -> Finding | None:
    """The token that ends a turn is not a stop token of generation."""
    known = wiring.model.generation_config.eos_token_id
    stops = known if isinstance(known, list | tuple) else [known]
    if wiring.end.id in stops:
        return None
    return error(
        "end-of-turn-does-not-stop",
        f"The chat template ends a turn with {wiring.end.text} ({wiring.end.id}), but generation stops at "
        f"{stops} only: answers run on to the token limit.",
        "Put the token into generation_config.eos_token_id (`wire_stop_tokens` does).",
    )


def frozen_parameters(wiring: Wiring) -> Finding | None:
    """Parameters that should be trained and are not."""
    total = sum(p.numel() for p in wiring.parameters)
    trained = sum(p.numel() for p in wiring.parameters if p.requires_grad)
    lora = wiring.recipe.model.lora is not None
    if trained and (lora or trained > 0.99 * total):
        return None
    fix = "Give model.lora targets that exist." if lora else "Call requires_grad_(True) on all parameters."
    return graded(
        "frozen-parameters",
        1 - trained / total,
        0.5,
        f"Only {trained:,} of {total:,} parameters ({percent(trained / total)}) are trainable, though the "
        f"recipe trains {'adapters' if lora else 'all weights'}.",
        fix,
        count=total - trained,
    )


def half_precision_parameters(wiring: Wiring) -> Finding | None:
    """Weights kept in half precision, where a small update is lost."""
    import torch

    narrow = (torch.bfloat16, torch.float16)
    trained = [p for p in wiring.parameters if p.requires_grad and place_of(p) is None]
    half = [p for p in trained if p.dtype in narrow]
    if not half:
        return None
    lr = wiring.recipe.optim.peak
    share = movable_share(lr, half)
    assumed = " (estimated for weights of a typical size)" if half[0].device.type == "meta" else ""
    return graded(
        "half-precision-parameters",
        1 - share,
        0.9,
        f"The trained weights are {str(half[0].dtype).removeprefix('torch.')}: one step at learning rate "
        f"{lr:g} can change {percent(share)} of them{assumed}, the others are rounded back.",
        "Keep master weights in float32 (model.dtype: bfloat16 does, and computes in bfloat16).",
        count=sum(p.numel() for p in half),
        numbers=(("movable_share", share),),
    )


def padding_drops_gradient(wiring: Wiring) -> Finding | None:
    """The embedding of the end-of-turn token gets no gradient because it is the padding token too."""
    table = wiring.model.get_input_embeddings()
    if getattr(table, "padding_idx", None) != wiring.end.id:
        return None
    return error(
        "padding-drops-gradient",
        f"The embedding of {wiring.end.text} is marked as padding, so it gets no gradient although every "
        "answer ends with it.",
        "Set the embedding's padding_idx to None (`wire_stop_tokens` does).",
    )


def untied_weights(wiring: Wiring) -> Finding | None:
    """The config ties input and output embeddings, the model does not."""
    head = causal_model(wiring.model).get_output_embeddings()
    if head is None or not getattr(wiring.config, "tie_word_embeddings", False):
        return None
    if head.weight is wiring.model.get_input_embeddings().weight:
        return None
    return error(
        "untied-weights",
        "The config ties input and output embeddings but the model holds two of them; after saving and "
        "loading it is another model.",
        "Call tie_weights() after loading, or set tie_word_embeddings to false in the config.",
    )


def vocabulary_too_small(wiring: Wiring) -> Finding | None:
    """The tokenizer has tokens that the model has no embedding for."""
    rows = cast("nn.Embedding", wiring.model.get_input_embeddings()).weight.shape[0]
    if len(wiring.tokenizer) <= rows:
        return None
    return error(
        "vocabulary-too-small",
        f"The tokenizer has {len(wiring.tokenizer):,} tokens, the model {rows:,} embeddings: some tokens "
        "have none.",
        "Use the model's own tokenizer, or resize its embeddings.",
    )


def dropout_in_rollouts(wiring: Wiring) -> Finding | None:
    """Dropout makes the trainer's log-probabilities differ from the sampler's on its own samples."""
    from boresight import methods
    from boresight.training.forward import INPUT_KINDS

    name, rate = max(_dropout(wiring), key=lambda found: found[1], default=("", 0.0))
    if not rate or not INPUT_KINDS[methods.get(wiring.recipe.method_name).Input].online:
        return None
    return error(
        "dropout-in-rollouts",
        f"Dropout of {rate:g} is on in training but off in sampling, so the log-probability of an "
        "answer is not the one it was drawn with.",
        f"Set {_setting(name)} to 0.",
    )


def dropout_in_policy(wiring: Wiring) -> Finding | None:
    """The model's own dropout, which the reference does not have."""
    own = [(name, rate) for name, rate in _dropout(wiring) if name != "model.lora.dropout"]
    if not own:
        return None
    name, rate = own[0]
    return warning(
        "dropout-in-policy",
        f"The model's config has {name} {rate:g}: with dropout the policy is not the reference at the first "
        "step.",
        "Set model.dropout to 0.",
    )


def beyond_context(wiring: Wiring) -> Finding | None:
    """Rows longer than the model's context; an error if its position embeddings are a table of fixed size."""
    from boresight.training.forward import kind_of

    table = position_table(wiring.model)
    ends, limit = table is not None, longest_sequence(wiring.model) if table is None else table
    room = limit - (ends and kind_of(wiring.recipe).online)  # a row is a prompt then, and must be answered
    if wiring.recipe.data.max_length <= room:
        return None
    say = error if ends else note
    more = "; they are a table, and a longer row cannot be run" if ends else ""
    knows = "has" if ends else "by its config has"
    return say(
        "beyond-context",
        f"data.max_length is {wiring.recipe.data.max_length:,}, the model {knows} {limit:,} positions{more}.",
        f"Lower data.max_length to {room:,}.",
    )


def pad_is_end_of_turn(wiring: Wiring) -> Finding | None:
    """One token both pads and ends a turn, which is safe only while no code masks by id."""
    if wiring.tokenizer.pad_token_id != wiring.end.id:
        return None
    return note(
        "pad-is-end-of-turn",
        f"Padding and end of turn are one token, {wiring.end.text}; here nothing is masked by id, but a "
        "script that masks padding in the labels would train the model not to stop.",
        "Document it for users of the model, or give padding a token of its own.",
    )


def _dropout(wiring: Wiring) -> Iterator[tuple[str, float]]:
    """Names and rates of every dropout that is on in training."""
    lora = wiring.recipe.model.lora
    if lora is not None and lora.dropout > 0:
        yield "model.lora.dropout", lora.dropout
    yield from dropout_rates(wiring.config).items()


def _setting(name: str) -> str:
    """The key of the recipe that governs a rate."""
    return name if name.startswith("model.") else "model.dropout"
