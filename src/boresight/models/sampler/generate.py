"""Generate text: from conversations to completions, through the tokenizer's chat template.

model, tokenizer = load_chat_model("starter")
params = SamplingParams(max_new_tokens=96, seed=0)
samples = generate(model, tokenizer, conversations, params, k=4)    # samples[prompt][j].text
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from boresight.core.schema import Message
from boresight.data.chat import encode_prompt
from boresight.data.rendering.choose import ensure_chat_template
from boresight.data.stop_tokens import GenerativeModel, stop_token_ids, wire_stop_tokens
from boresight.data.tokenizer import Tokenizer
from boresight.models.checkpoint.leftovers import Allowed
from boresight.models.load import load_model, load_tokenizer
from boresight.models.policy import Policy
from boresight.models.sampler.params import Sample, SamplingParams
from boresight.models.sampler.sample import sample


def load_chat_model(
    name: str, *, device: str | None = None, merge: bool = True, allowed: Allowed | None = None
) -> tuple[Policy, Tokenizer]:
    """Load the model and tokenizer called `name`, with the end-of-turn token set as a stop token.

    The arguments are those of `load_model`.

    Raises:
        UserError: there is no such model, or its chat template is missing or ends a turn without a special
            token.
    """
    tokenizer = load_tokenizer(name)
    ensure_chat_template(tokenizer)
    model = load_model(name, device=device, merge=merge, allowed=allowed)
    wire_stop_tokens(model, tokenizer)
    return model, tokenizer


def generate(
    model: Any,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[Message]],
    params: SamplingParams,
    k: int = 1,
    *,
    sampler: Callable[..., list[list[Sample]]] = sample,
    **options: Any,
) -> list[list[Sample]]:
    """Generate `k` completions of each conversation, with their texts: `result[prompt][sample]`.

    Without stop tokens in `params`, those of the model end a completion.

    Args:
        sampler: function that is called with `(model, prompts as token ids, params, k, **options)`, as
            `sample` is.
    """
    if not params.stop_token_ids:
        params = stopping_at_turns(model, params)
    ids = [encode_prompt(tokenizer, messages) for messages in prompts]
    return decode(tokenizer, sampler(model, ids, params, k, **options))


def stopping_at_turns(model: GenerativeModel, params: SamplingParams) -> SamplingParams:
    """Return a copy of `params` with the model's stop tokens."""
    return replace(params, stop_token_ids=stop_token_ids(model))


def decode(tokenizer: Tokenizer, samples: Sequence[Sequence[Sample]]) -> list[list[Sample]]:
    """Return the samples with their texts, without special tokens such as the stop token."""
    return [
        [replace(s, text=tokenizer.decode(s.ids, skip_special_tokens=True)) for s in group]
        for group in samples
    ]
