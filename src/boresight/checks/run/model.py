"""Check the model and its tokenizer: stop tokens, trainable parameters, and precision."""

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
    """A model that is set up for training, possibly without weights (`meta` device), and its tokenizer."""

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
        """All parameters of the model."""
        return list(self.model.parameters())


def end_of_turn_does_not_stop(wiring: Wiring) -> Finding | None:
    """Return the finding `end-of-turn-does-not-stop` if generation does not stop at turns, else None.

    The token that ends a turn must be a stop token of generation.
    """
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
    """Return the finding `frozen-parameters` if parameters are frozen that the recipe trains, else None."""
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
    """Return the finding `half-precision-parameters` if trained weights are in half precision, else None.

    A small update of such weights is lost in rounding.
    """
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
    """Return the finding `padding-drops-gradient` if the end-of-turn token is not trained, else None.

    Its embedding gets no gradient if the embedding table treats the token as padding (`padding_idx`).
    """
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
    """Return the finding `untied-weights` if the model does not tie its embeddings, else None.

    Input and output embeddings must be tied if the config ties them.
    """
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
    """Return the finding `vocabulary-too-small` if tokens have no embedding, else None."""
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
    """Return the finding `dropout-in-rollouts` if a method that samples trains with dropout, else None.

    With dropout the trainer's log-probabilities of the samples differ from the sampler's.
    """
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
    """Return the finding `dropout-in-policy` if the model's config has dropout, else None.

    The reference is computed without dropout, so the two differ. The dropout of adapters is allowed.
    """
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
    """Return the finding `beyond-context` if rows may be longer than the model's context, else None.

    It is an error if the model's position embeddings are a table of fixed size.
    """
    from boresight.training.forward import kind_of

    table = position_table(wiring.model)
    ends, limit = table is not None, longest_sequence(wiring.model) if table is None else table
    room = limit - (ends and kind_of(wiring.recipe).online)  # prompts need room for an answer
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
    """Return the finding `pad-is-end-of-turn` if the padding token is also the end-of-turn token, else None.

    That is safe only as long as no code masks tokens by id.
    """
    if wiring.tokenizer.pad_token_id != wiring.end.id:
        return None
    return note(
        "pad-is-end-of-turn",
        f"Padding and end of turn are one token, {wiring.end.text}; here nothing is masked by id, but a "
        "script that masks padding in the labels would train the model not to stop.",
        "Document it for users of the model, or give padding a token of its own.",
    )


def _dropout(wiring: Wiring) -> Iterator[tuple[str, float]]:
    """Iterate over `(name, rate)` of every dropout that is active in training."""
    lora = wiring.recipe.model.lora
    if lora is not None and lora.dropout > 0:
        yield "model.lora.dropout", lora.dropout
    yield from dropout_rates(wiring.config).items()


def _setting(name: str) -> str:
    """Return the recipe setting that controls the dropout with this name."""
    return name if name.startswith("model.") else "model.dropout"
