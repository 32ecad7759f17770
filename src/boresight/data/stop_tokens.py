"""Find the token that ends an assistant turn, and make it a stop token of generation.

Base models have the end of *text* as their end-of-sequence token, while the chat template ends a turn with
another token: Qwen2.5 has `<|endoftext|>` (151643), and ChatML `<|im_end|>` (151645). A model that is trained
with the template but keeps its end-of-sequence token generates `<|im_end|>` and does not stop there
(QwenLM/Qwen3 issue 927, huggingface/open-r1 pull request 604).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from boresight.config.section import shortened
from boresight.core.errors import UserError
from boresight.core.schema import Message
from boresight.core.strict_model import is_count
from boresight.data.rendering.template import TemplateRefusal, render_messages
from boresight.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import nn
    from transformers import GenerationConfig, PreTrainedConfig

PROBE = "abcxyz"
"""Content of the probe answer; no template changes it, so it can be found in the rendering."""
QUESTION: Message = {"role": "user", "content": "a"}
ANSWER: Message = {"role": "assistant", "content": PROBE}
SYSTEM: Message = {"role": "system", "content": "s"}
SPECIAL = {"eos_token_id": None, "pad_token_id": -1, "bos_token_id": -1}
"""Config fields with special tokens, and the id that stands for no token.

Early LLaMA configs have -1 as pad token.
"""
PROBES = ([QUESTION, ANSWER], [SYSTEM, QUESTION, ANSWER])
"""Probe conversations, the shortest ones; some templates require a system prompt."""


@dataclass(frozen=True, slots=True)
class EndOfTurn:
    """The token that ends an assistant turn, as text and as a token id."""

    text: str
    id: int


class GenerativeModel(Protocol):
    """The part of a transformers model that determines when generation stops."""

    @property
    def config(self) -> PreTrainedConfig: ...

    @property
    def generation_config(self) -> GenerationConfig: ...

    def get_input_embeddings(self) -> nn.Module: ...


def end_of_turn(tokenizer: Tokenizer) -> EndOfTurn:
    """Return the first special token that the chat template renders after the content of an assistant turn.

    Raises:
        UserError: no chat template, one that cannot render a question and its answer, or one that ends a turn
            with ordinary text or with the beginning of the next turn.
    """
    probe, text = _rendered_probe(tokenizer)
    end = _special_after(tokenizer, text)
    if end is None:
        raise UserError(
            "model.chat_template: the template ends an assistant's turn with no special token of this "
            "tokenizer, so an answer could never stop; use `plain`, or a template that writes eos_token."
        )
    if _always_asks(tokenizer, probe) and _special_within(tokenizer, probe) != end:
        raise UserError(
            f"model.chat_template: the template writes {end.text} for the next turn after every "
            "conversation, asked or not, and nothing that ends an assistant's turn, so the scored "
            "tokens cannot be found; set it to a template that ends turns."
        )
    return end


def _rendered_probe(tokenizer: Tokenizer) -> tuple[list[Message], str]:
    """Return the first of `PROBES` that the template renders, and its rendering."""
    if tokenizer.chat_template is None:
        raise UserError(
            "model.chat_template: the tokenizer has no chat template; set it to `chatml`, `plain` "
            "or the path of a Jinja file."
        )
    reasons: list[str] = []
    for probe in PROBES:
        try:
            text = render_messages(tokenizer, probe)
        except TemplateRefusal as refusal:
            reasons.append(str(refusal))
            continue
        if PROBE in text:
            return probe, text
        reasons.append("the words of the answer are missing")
    raise UserError(
        f"model.chat_template: the template cannot write a question and its answer: {reasons[0]}; "
        "set it to `chatml`, `plain` or the path of another Jinja file."
    )


def _special_after(tokenizer: Tokenizer, text: str) -> EndOfTurn | None:
    """Return the first special token after the content of the probe; None if only ordinary text follows.

    Tokenizers also have added tokens that are ordinary text, such as Gemma's for line ends.
    """
    after = text.rindex(PROBE) + len(PROBE)
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
        added = tokenizer.added_tokens_decoder.get(token) if start >= after else None
        if added is not None and (added.special or added.content == tokenizer.eos_token):
            return EndOfTurn(added.content, token)
    return None


def _always_asks(tokenizer: Tokenizer, probe: list[Message]) -> bool:
    """Return whether the template has no generation prompt, or always appends it."""
    return render_messages(tokenizer, probe[:-1], ask=True) == render_messages(tokenizer, probe[:-1])


def _special_within(tokenizer: Tokenizer, probe: list[Message]) -> EndOfTurn | None:
    """Return the first special token after the content of the probe, if a user turn follows."""
    return _special_after(tokenizer, render_messages(tokenizer, [*probe, QUESTION]))


def wire_stop_tokens(model: GenerativeModel, tokenizer: Tokenizer) -> EndOfTurn:
    """Set the stop tokens in the tokenizer, the config and the generation config.

    The end-of-turn token becomes the first stop token and the tokenizer's `eos_token`; earlier stop tokens
    remain stop tokens. A missing pad token is set, for batching; it does not mask tokens, and its embedding
    is trained like any other, since it may be the end-of-turn token.

    Raises:
        UserError: the template ends no turn, or a special token in the model's files is not an id of its
            vocabulary.
    """
    end = end_of_turn(tokenizer)
    refuse_foreign_ids(model)
    stops = list(dict.fromkeys([end.id, *_stops(model, tokenizer)]))
    if tokenizer.pad_token_id is None:
        # The old end of text never occurs inside a conversation; without one, pad equals eos.
        tokenizer.pad_token = tokenizer.eos_token if tokenizer.eos_token_id is not None else end.text
    tokenizer.eos_token = end.text
    for config in (model.config, model.generation_config):
        config.eos_token_id = stops if len(stops) > 1 else end.id
        config.pad_token_id = tokenizer.pad_token_id
    train_padding(model)
    return end


def train_padding(model: GenerativeModel) -> None:
    """Make the embedding of the pad token trainable.

    transformers sets the pad token as `padding_idx`, whose embedding gets no gradient.
    """
    cast("nn.Embedding", model.get_input_embeddings()).padding_idx = None


def stop_token_ids(model: GenerativeModel) -> tuple[int, ...]:
    """Return the ids that stop generation, as set by `wire_stop_tokens`."""
    ids = model.generation_config.eos_token_id
    return tuple(ids) if isinstance(ids, (list, tuple)) else (ids,)


def _stops(model: GenerativeModel, tokenizer: Tokenizer) -> list[int]:
    """Return the ids that currently stop generation."""
    holders = (model.generation_config, model.config, tokenizer)
    return [id for holder in holders for id in _ids(holder, "eos_token_id")]


def refuse_foreign_ids(model: GenerativeModel) -> None:
    """Raise a `UserError` if an end, pad or beginning token of the model's files is not in its vocabulary.

    A stop token that cannot be sampled would otherwise go unnoticed, and be saved with the trained model.
    """
    size = model.config.get_text_config().vocab_size
    _forget_defaults(model, size)
    # Without generation_config.json, its ids are those of config.json, which is therefore checked first.
    for file, holder in (("config.json", model.config), ("generation_config.json", model.generation_config)):
        for field in SPECIAL:
            refuse_foreign_id(holder, field, file, size)


def _forget_defaults(model: GenerativeModel, vocabulary: int) -> None:
    """Remove default ids of the library, such as GPT-2's 50256, that a smaller vocabulary does not contain.

    A config without the field is not an error of the model.
    """
    for field in SPECIAL:
        default = getattr(type(model.config), field, None)
        if is_count(default) and default >= vocabulary:
            for config in (model.config, model.generation_config):
                if getattr(config, field, None) == default:
                    setattr(config, field, None)


def refuse_foreign_id(
    config: PreTrainedConfig | GenerationConfig, field: str, file: str, vocabulary: int
) -> None:
    """Raise a `UserError` if a field of `SPECIAL` has an id outside a vocabulary of `vocabulary` tokens."""
    for id in _ids(config, field):
        is_id = is_count(id) and id < vocabulary
        if not is_id and (SPECIAL[field] is None or id != SPECIAL[field]):
            raise UserError(
                f"model: {field} is {shortened(getattr(config, field))} in its {file}; give an id of its "
                f"vocabulary of {vocabulary:,} tokens, 0 to {vocabulary - 1:,}, or a list of them."
            )


def _ids(holder: object, field: str) -> list[Any]:
    """Return the ids in a field as a list: one, several or none.

    The list is empty if a config lacks the field, as that of a multimodal model may.
    """
    value = getattr(holder, field, None)
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
