"""Build a model without its weights, to find errors from the headers of its files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from boresight.models.checkpoint.adapter import put_adapter
from boresight.models.checkpoint.leftovers import Allowed, refuse
from boresight.models.checkpoint.pretrained import read_skeleton
from boresight.models.head import OutputHead, head_of
from boresight.models.source import ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def whole_skeleton(source: ModelSource, name: str, head: OutputHead, allowed: Allowed) -> PreTrainedModel:
    """Build the model of `source` on torch's `meta` device, and check its files and those of its adapters.

    The vocabulary is extended to that of the adapters, if there are any. Differences that the model's own
    run was allowed are added to `allowed`.

    Raises:
        UserError: the model's files have an error that `load_model` or `load_reward_model` would report.
        Unreachable: the files are on the hub, which cannot be reached.
    """
    worded = tuple(adapter for adapter in source.adapters if head_of(adapter) == "lm")
    if head == "score" and worded:
        whole_skeleton(replace(source, adapters=worded), name, "lm", allowed)
    model, leftovers = read_skeleton(source, name, head)
    allowed.patterns += source.allowed
    refuse(leftovers, name, type(model).__name__, allowed)
    for adapter in source.adapters:
        if head == "lm" or adapter not in worded:
            model = put_adapter(model, adapter, allowed).unload()
    return model.requires_grad_(True)
