"""Activation checkpointing: keep activations for the backward or recompute them, as set or by an estimate.

Recomputation adds about a third to the operations (a second forward of every layer) and reduces the memory of
activations to a few percent; the results are the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.wording import format_size
from boresight.data.rows import Row
from boresight.models.kernels.compact import count_parameters
from boresight.models.kernels.split_weights import is_split
from boresight.models.policy import Policy, causal_model
from boresight.models.precision import resolve_dtype
from boresight.training.distributed import collectives
from boresight.training.footprint.base import base_form, copies_reference
from boresight.training.footprint.estimate import Footprint
from boresight.training.footprint.layer import Shape
from boresight.training.forward import InputKind, kind_of
from boresight.training.memory import available_gb

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SPARE = 0.9
"""Maximum share of the free memory that an estimate may fill."""


@dataclass(frozen=True, slots=True)
class ActivationChoice:
    """Whether activations are recomputed, and the estimates behind the choice, in GB.

    `kept_gb` is the memory needed if activations are kept, `recomputed_gb` if they are recomputed, and
    `free_gb` the free memory.
    """

    recompute: bool
    kept_gb: float
    recomputed_gb: float
    free_gb: float
    why: str

    def __str__(self) -> str:
        """Return the choice as one sentence for the terminal."""
        what = "recomputed in the backward pass" if self.recompute else "kept for the backward"
        return (
            f"Activations are {what} ({self.why}): training needs about {format_size(self.kept_gb)} more if "
            f"they are kept, {format_size(self.recomputed_gb)} if not; {format_size(self.free_gb)} are free."
        )


def largest_forward(recipe: Recipe, kind: InputKind, rows: Sequence[Row], limit: int) -> int:
    """Return the number of tokens of the largest forward with a backward.

    It is a full micro-batch, or a whole batch if that is smaller. A row is never split, so a single row may
    exceed the limit. For methods that sample, rows are prompts, and the longest possible answers are added.

    Args:
        limit: number of tokens of a full micro-batch.
    """
    answers = {None: 0, "pair": 2, "group": recipe.rollout.k}[kind.samples]
    sampled = answers * recipe.rollout.max_new_tokens
    longest = heapq.nlargest(recipe.train.batch, (row.tokens + sampled for row in rows))
    if not longest:
        return limit
    return min(max(limit, longest[0]), sum(longest))


def footprint_of(recipe: Recipe, policy: Policy) -> Footprint:
    """Return the memory model of a run that trains `policy`."""
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    dtype = resolve_dtype(recipe.model.dtype, policy.device)
    return Footprint(
        shape=Shape.of(causal_model(policy).config),
        parameters=count_parameters(causal_model(policy)),
        trained=trained,
        dtype=dtype,
        lora=recipe.model.lora,
        states=recipe.optim.states,
        base=base_form(recipe, kind_of(recipe), dtype),
        split=is_split(causal_model(policy)),
        low_on_host=recipe.model.low_bits == "host",
        frozen_copy=copies_reference(recipe, kind_of(recipe)),
        cuda=policy.device.type != "cpu",
    )


def activation_choice(
    recipe: Recipe, policy: Policy, tokens: int, earlier: bool | None = None
) -> ActivationChoice:
    """Choose whether `policy`, whose weights are loaded, recomputes activations, and enable that if so.

    The estimates include gradients, optimizer state and a frozen copy for the reference, which are allocated
    later.

    Args:
        tokens: number of tokens of the largest forward that has a backward.
        earlier: choice of the run before it was interrupted; None for a new run.
    """
    base, footprint = causal_model(policy), footprint_of(recipe, policy)
    beside = footprint.frozen_gb + footprint.state_gb
    sizes = {
        recompute: beside + footprint.activations_gb(tokens, recompute=recompute)
        for recompute in (False, True)
    }
    free, mode = available_gb(policy.device), recipe.train.activations
    too_much = sizes[False] > SPARE * free and base.supports_gradient_checkpointing
    if mode != "auto":
        recompute, why = mode == "recompute", "set by train.activations"
    elif earlier is not None:
        recompute, why = earlier, "as before"
    else:
        recompute, why = collectives.from_first(too_much), "by estimate"
    choice = ActivationChoice(
        recompute=recompute,
        kept_gb=sizes[False],
        recomputed_gb=sizes[True],
        free_gb=free,
        why=why,
    )
    if choice.recompute:
        if not base.supports_gradient_checkpointing:
            raise UserError(
                f"train.activations: {type(base).__name__} cannot recompute its activations; set it to keep."
            )
        recompute_activations(base)
    return choice


def recompute_activations(model: PreTrainedModel, on: bool = True) -> None:
    """Enable or disable recomputation of activations in the backward.

    transformers renamed the methods in 5.23; both names are supported.
    """
    word = "enable" if on else "disable"
    name = f"activation_checkpointing_{word}"
    getattr(model, name if hasattr(model, name) else f"gradient_checkpointing_{word}")()
