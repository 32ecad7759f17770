"""Load a model or its tokenizer by name: `starter`, a local folder, or a Hugging Face hub id."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.data.tokenizer import Tokenizer
from boresight.models.checkpoint.adapter import put_adapter
from boresight.models.checkpoint.first_forward import refuse_unusable
from boresight.models.checkpoint.generation_config import read_generation_config
from boresight.models.checkpoint.headers import read_headers
from boresight.models.checkpoint.leftovers import Allowed, refuse
from boresight.models.checkpoint.pretrained import (
    BuildOptions,
    one_sentence,
    read_tokenizer,
    read_weights,
)
from boresight.models.policy import Policy
from boresight.models.source import (
    ModelSource,
    Unreachable,
    locate,
    refuse_unknown_device,
    tokenizer_place,
)

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

DTYPES = ("float32", "bfloat16", "float16", "float64", "saved")


def load_tokenizer(name: str, chat_template: str | None = None) -> Tokenizer:
    """Load the tokenizer of the model called `name`; an adapter's own tokenizer replaces that of its base.

    Args:
        chat_template: template that replaces the tokenizer's own: `chatml`, `plain` or a Jinja file.

    Raises:
        UserError: there is no such model or template, or the tokenizer has no character offsets (a "slow"
            one).
    """
    from boresight.data.rendering.choose import ensure_chat_template

    place, cached_only = tokenizer_place(name)
    found = read_tokenizer(name, place, cached_only)
    if not found.is_fast:
        raise UserError(
            f"model: the tokenizer of {name!r} has no tokenizer.json, which the loss mask needs; "
            "choose a model that ships one."
        )
    tokenizer = cast("Tokenizer", found)
    if chat_template is not None:
        ensure_chat_template(tokenizer, chat_template)
    return tokenizer


def load_model(
    name: str,
    dtype: str = "float32",
    device: str | None = None,
    *,
    attention: str | None = None,
    dropout: float | None = None,
    merge: bool = True,
    allowed: Allowed | None = None,
) -> Policy:
    """Load the causal language model called `name`, in evaluation mode.

    Weights are float32 by default: they are the master weights of training, and an update of 1e-6 is lost in
    bfloat16. Only safetensors are read, and no code that comes with a model is run.

    Args:
        dtype: one of `DTYPES`; `saved` is bfloat16 if all weights are saved in it, otherwise float32.
        device: such as `cpu` or `cuda:0`; None for the first CUDA device, or the CPU if there is none.
        attention: name of an attention implementation of transformers; None for `sdpa`, or `eager` for a
            model that does not support it.
        dropout: rate of the model's own dropout layers; None keeps the rates of its config.
        merge: merge PEFT adapters into their base, so that training starts from the adapted model and
            measures its KL against it. False keeps the last adapter separate in a `PeftModel`, so that it can
            be switched off.
        allowed: patterns of weights that may be missing from the checkpoint or unknown to the model; the
            weights accepted by them are recorded in it.

    Raises:
        UserError: there is no such model, dtype or device, the model has no safetensors, or its weights
            differ from its checkpoint in other ways than `allowed` permits.
    """
    import torch

    if dtype not in DTYPES:
        raise UserError(f"model.dtype: {dtype!r} is not a dtype{nearest(dtype, DTYPES)}.")
    source = locate(name)
    half = dtype == "saved" and not source.adapters and saved_in_bfloat16(source)
    weights = torch.bfloat16 if half else torch.float32 if dtype == "saved" else getattr(torch, dtype)
    options = BuildOptions(weights, attention, dropout)
    model = load_source(source, name, options, merge=merge, allowed=allowed or Allowed())
    return cast("Policy", model.to(device_called(device)).eval())


def saved_in_bfloat16(source: ModelSource) -> bool:
    """Whether all weights are saved in bfloat16, according to the headers of their files.

    False if the files are not on this machine.
    """
    with suppress(Unreachable):
        headers = read_headers(replace(source, cached_only=True))
        return bool(headers) and all(saved.dtype == "BF16" for saved in headers.values())
    return False


def load_source(
    source: ModelSource, name: str, options: BuildOptions, *, merge: bool = True, allowed: Allowed
) -> torch.nn.Module:
    """Load the language model of `source` with its adapters, on the CPU; arguments as for `load_model`."""
    base, leftovers = read_weights(source, name, "lm", options)
    allowed.patterns += source.allowed
    refuse(leftovers, name, type(base).__name__, allowed)
    refuse_unusable(base, name)
    model: torch.nn.Module = base
    for adapter in source.adapters:  # every adapter but the last is merged
        adapted = put_adapter(cast("PreTrainedModel", model), adapter, allowed)
        _restore_stop_tokens(base, adapter)
        model = merged(adapted, adapter) if merge or adapter != source.adapters[-1] else adapted
    return model


def merged(adapted: PeftModel, adapter: Path) -> PreTrainedModel:
    """Merge an adapter into its base, and make all weights trainable, which PEFT had frozen.

    Raises:
        UserError: PEFT cannot merge this kind of adapter.
    """
    with one_sentence(str(adapter), "adapter"):
        model: PreTrainedModel = adapted.merge_and_unload().requires_grad_(True)
    model.name_or_path = str(adapter.resolve())  # recorded as the base of adapters on top of it
    return model


def _restore_stop_tokens(model: PreTrainedModel, adapter: Path) -> None:
    """Load the stop tokens that are saved with an adapter; its base may have others."""
    own = read_generation_config(ModelSource(str(adapter), cached_only=True))
    if own is not None:
        model.generation_config = own
        model.config.eos_token_id = model.generation_config.eos_token_id
        model.config.pad_token_id = model.generation_config.pad_token_id


def device_called(name: str | None) -> torch.device:
    """Return the device of that name; None for the first CUDA device, or the CPU if there is none.

    Raises:
        UserError: no device has this name, or this machine has no such device.
    """
    import torch

    refuse_unknown_device(name)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = torch.device(name or ("cuda" if there else "cpu"))
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("device: 'mps' is the GPU of a Mac, and torch sees none; use cpu or leave it out.")
    if device.type == "cuda" and (device.index or 0) >= there:
        found = f"{there} CUDA devices" if there else "no CUDA device"
        raise UserError(f"device: {name!r} was requested, but there is {found}; use cpu or leave it out.")
    return device
