"""Determine the storage formats of a run's weights: frozen weights under adapters, and trained weights."""

from __future__ import annotations

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.models.kernels.compact import BaseForm
from boresight.training.distributed import collectives
from boresight.training.forward import InputKind


def base_form(recipe: Recipe, kind: InputKind, dtype: str) -> BaseForm:
    """Return the storage format of the frozen weights under adapters, in a run that computes in `dtype`.

    It is float32 if the weights may have to be sharded, and in reward models, whose adapters are merged into
    them at the end.

    Raises:
        UserError: `model.lora.base` is nf4 in such a run, or on mps.
    """
    if recipe.model.lora is None:
        return "float32"
    spread = _may_be_spread(recipe)
    if recipe.model.lora.base == "nf4" and recipe.model.device == "mps":
        raise UserError("model.lora.base: nf4 is not available on mps; leave it out.")
    why = "a reward model" if kind.head == "score" else "processes that share the weights" if spread else ""
    if recipe.model.lora.base == "nf4" and why:
        raise UserError(
            f"model.lora.base: nf4 cannot be used for {why}; leave it out"
            + (", or set train.parallel=ddp." if spread else ".")
        )
    if recipe.model.lora.base == "nf4":
        return "nf4"
    return "bfloat16" if recipe.model.lora.base == "auto" and dtype == "bfloat16" and not why else "float32"


def splits_weights(recipe: Recipe, kind: InputKind, dtype: str) -> bool:
    """Return whether trained weights are stored as two 16-bit halves (`split_weights`).

    They are with `model.kernels: fast` in a run that computes in bfloat16, for full fine-tuning of a language
    model without sharding.

    Args:
        dtype: precision in which the run computes.
    """
    whole = recipe.model.lora is None and kind.head == "lm" and not _may_be_spread(recipe)
    return recipe.model.kernels == "fast" and dtype == "bfloat16" and whole


def copies_reference(recipe: Recipe, kind: InputKind) -> bool:
    """Return whether a second model is kept as the reference.

    It is for methods that sample from or score with a reference during training and train all weights. Other
    runs score the reference before the first step, or switch adapters off.
    """
    return kind.online and recipe.method.wants_reference and recipe.model.lora is None


def refuse_host_bits(recipe: Recipe, kind: InputKind, dtype: str) -> None:
    """Raise a `UserError` if `model.low_bits: host` has no effect in a run that computes in `dtype`."""
    if recipe.model.low_bits == "host" and not splits_weights(recipe, kind, dtype):
        raise UserError(
            "model.low_bits: host has no effect on weights that are not split; set model.kernels=fast with "
            "model.dtype=bfloat16 for a language model that is trained whole in one place, or leave it out."
        )


def _may_be_spread(recipe: Recipe) -> bool:
    """Return whether the weights may be sharded; that is decided after the model has been loaded."""
    return collectives.world() > 1 and recipe.train.parallel != "ddp"
