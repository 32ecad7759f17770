"""Reward models: a language model with one scalar head, which scores whole conversations.

The model is transformers' sequence classification with one label: saved models can be loaded with
`AutoModelForSequenceClassification`, and any such model can be loaded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from boresight.core.errors import UserError
from boresight.data.rows import Row
from boresight.data.stop_tokens import end_of_turn, train_padding
from boresight.data.tokenizer import Tokenizer
from boresight.models.checkpoint.adapter import put_adapter
from boresight.models.checkpoint.first_forward import refuse_unusable
from boresight.models.checkpoint.leftovers import Allowed, refuse
from boresight.models.checkpoint.pretrained import BuildOptions, read_weights
from boresight.models.head import head_of, is_own_reward_model, mark_reading
from boresight.models.kernels.to_device import to_device
from boresight.models.lengths import split_by_length
from boresight.models.limits import refuse_unreadable_rows
from boresight.models.load import device_called, load_source, merged
from boresight.models.packed.logprobs import Layout, completions_per_row
from boresight.models.packed.packing import length, pack
from boresight.models.packed.plan import PackedPlan, packed_plan, warn_once
from boresight.models.policy import Policy, causal_model
from boresight.models.source import locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_reward_model(
    name: str,
    *,
    device: str | None = None,
    seed: int = 0,
    dropout: float | None = None,
    allowed: Allowed | None = None,
    several_outputs: bool = False,
) -> Policy:
    """Load `name` with a one-label head, in float32; a language model gets a new head, initialized from
    `seed`.

    Args:
        dropout: rate of the model's own dropout layers; None keeps the rates of its config.
        allowed: patterns of weights that may be missing from the checkpoint or unknown to the model; the
            weights accepted by them are recorded in it.
        several_outputs: keep all labels of a classifier with several; see `completion_outputs`.

    Raises:
        UserError: there is no such model, it is an encoder, it is a classifier with several labels and
            `several_outputs` is not set, or its weights differ from its checkpoint in other ways than
            `allowed` permits.
    """
    source = locate(name)
    allowed, options = (
        allowed or Allowed(),
        BuildOptions(torch.float32, dropout=dropout, several_outputs=several_outputs),
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # leaves the generators of GPUs unchanged
        model, leftovers = read_weights(source, name, "score", options)
    allowed.patterns += source.allowed
    refuse(leftovers, name, type(model).__name__, allowed)
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise UserError(
            f"model: {type(model).__name__} of {name!r} has no linear layer called `score` that reads the "
            "last token; take a decoder with one label."
        )
    refuse_unusable(model, name)
    scored = [adapter for adapter in source.adapters if head_of(adapter) == "score"]
    worded = tuple(adapter for adapter in source.adapters if adapter not in scored)
    if worded:
        adapted = load_source(replace(source, adapters=worded), name, options, allowed=allowed)
        _copy_body(adapted, model)
    for adapter in scored:
        model = merged(put_adapter(model, adapter, allowed), adapter)
    if is_own_reward_model(scored[-1] if scored else Path(source.place)):
        mark_reading(model)
    whole: torch.nn.Module = model
    return cast("Policy", whole.to(device_called(device)).eval())


def _copy_body(source: torch.nn.Module, target: PreTrainedModel) -> None:
    """Copy all weights except the head from `source` to `target`, whose vocabulary is resized to that of
    `source`."""
    model = cast("PreTrainedModel", source)
    table = cast("torch.nn.Embedding", model.get_input_embeddings())
    target.resize_token_embeddings(table.num_embeddings, mean_resizing=False)
    target.base_model.load_state_dict(model.base_model.state_dict())


def wire_pad_token(model: Policy, tokenizer: Tokenizer) -> None:
    """Set a pad token in the model and its tokenizer that no conversation ends with.

    transformers reads a sequence's score at its last token that is not the pad token. If the pad token is the
    end-of-turn token, as in the starter model, that is one token too early.

    Raises:
        UserError: the tokenizer has no special token besides the end of turn.
    """
    end = end_of_turn(tokenizer).id
    others = [i for i in (tokenizer.pad_token_id, *tokenizer.added_tokens_decoder) if i not in (None, end)]
    if not others:
        raise UserError("model: a reward model needs a pad token besides the end-of-turn token; add one.")
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(others[0])
    model.config.pad_token_id = others[0]
    train_padding(model)


def completion_scores(model: Policy, rows: Sequence[Row], *, layout: Layout = "auto") -> Tensor:
    """Return the scalar reward of each prompt with its completion, `(rows, k)`, float32, for k completions
    per row.

    `layout` is that of `completion_outputs`.
    """
    return completion_outputs(model, rows, layout=layout).squeeze(-1)


def completion_outputs(model: Policy, rows: Sequence[Row], *, layout: Layout = "auto") -> Tensor:
    """Return the model's outputs for each prompt with its completion, `(rows, k, labels)`, float32.

    The head is applied to the hidden state of each completion's last token, so padding does not affect the
    output.

    Args:
        layout: `packed` computes every prompt once, `padded` once per completion; `auto` is `packed` if the
            model supports it.

    Raises:
        UserError: the model cannot run one of the rows, or does not support the layout `packed`.
    """
    refuse_unreadable_rows(model, rows)
    groups = split_by_length(model, rows)
    if groups is not None:
        parts = [completion_outputs(model, alone, layout=layout).flatten(0, 1) for _, alone in groups]
        places = np.concatenate([places for places, _ in groups])
        together = torch.cat(parts)[np.argsort(places)]
        return together.view(len(rows), -1, together.shape[-1])
    plan = packed_plan(model, rows) if layout != "padded" else "asked for"
    if isinstance(plan, PackedPlan):
        last = _last_states_packed(model, plan, rows)
    elif layout == "packed":
        raise UserError(f"layout: this model cannot run packed ({plan}); use layout auto or padded.")
    else:
        if layout == "auto":
            warn_once(model, plan)
        last = _last_states_padded(model, rows)
    outputs: Tensor = causal_model(model).get_submodule("score")(last).float()
    return outputs.view(len(rows), -1, outputs.shape[-1])


def _last_states_packed(model: Policy, plan: PackedPlan, rows: Sequence[Row]) -> Tensor:
    """Return the hidden state of each completion's last token, `(rows * k, width)`, with each prompt computed
    once."""
    batch = pack(rows, completions_per_row(rows), model.device, model.dtype)
    last = [
        (place if length(place) else span.prompt).stop - 1
        for span in batch.rows
        for place in span.completions
    ]
    distinct, index = np.unique(last, return_inverse=True)
    states = plan.hidden(model, batch, to_device(distinct, model.device))
    return states[to_device(index, model.device)]


def _last_states_padded(model: Policy, rows: Sequence[Row]) -> Tensor:
    """Return the hidden state of each completion's last token, `(rows * k, width)`, with one right-padded row
    per completion."""
    sequences = [np.concatenate([row.prompt, c.ids]) for row in rows for c in row.completions]
    longest = max(map(len, sequences))
    ids = np.zeros((len(sequences), longest), np.int64)
    for line, sequence in zip(ids, sequences, strict=True):
        line[: len(sequence)] = sequence
    lengths = to_device(torch.tensor([len(s) for s in sequences]), model.device)
    mask = torch.arange(longest, device=model.device) < lengths[:, None]
    hidden = causal_model(model).base_model(
        to_device(ids, model.device), attention_mask=mask.long(), use_cache=False
    )[0]
    return hidden[torch.arange(len(sequences), device=model.device), lengths - 1]
