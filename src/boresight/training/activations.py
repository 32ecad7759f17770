"""Whether the backward finds its activations in memory or computes them again: by an estimate, unless told.

Recomputing costs about a third more arithmetic (a second forward of every layer) and a few per cent of
the memory; the numbers are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from boresight.config.recipe import Recipe
from boresight.models.policy import Policy, causal_model
from boresight.training.distributed import collectives
from boresight.training.memory import activation_gb, available_gb, training_state_gb

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SPARE = 0.9
"""Share of the free memory that an estimate may fill."""


@dataclass(frozen=True, slots=True)
class ActivationChoice:
    """What was chosen, and the estimate it rests on, GB: with activations kept, without, and what is free."""

    recompute: bool
    kept_gb: float
    recomputed_gb: float
    free_gb: float
    why: str

    def __str__(self) -> str:
        """One sentence for the terminal."""
        what = "computed again in the backward" if self.recompute else "kept for the backward"
        return (
            f"Activations are {what} ({self.why}): training needs about {self.kept_gb:.1f} GB more if they "
            f"are kept, {self.recomputed_gb:.1f} GB if not; {self.free_gb:.1f} GB are free."
        )


def activation_choice(
    recipe: Recipe, policy: Policy, longest: int, earlier: bool | None = None
) -> ActivationChoice:
    """Choose for `policy`, whose weights are loaded, and switch recomputation on where it was chosen.

    Args:
        longest: of the longest row, tokens: a row is never split, so a forward may hold more than
            `train.tokens_per_forward`.
        earlier: what the run did before it was interrupted; None for a new run.
    """
    base = causal_model(policy)
    shape = base.config.get_text_config()
    tokens = max(recipe.train.tokens_per_forward, longest)
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    state = training_state_gb(trained)
    sizes = {
        recompute: state
        + activation_gb(
            tokens,
            layers=shape.num_hidden_layers,
            hidden=shape.hidden_size,
            intermediate=getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size,
            recompute=recompute,
        )
        for recompute in (False, True)
    }
    free, mode = available_gb(), recipe.train.activations
    too_much = sizes[False] > SPARE * free and base.supports_gradient_checkpointing
    if mode != "auto":
        recompute, why = mode == "recompute", "train.activations says so"
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
        recompute_activations(base)
    return choice


def recompute_activations(model: PreTrainedModel, on: bool = True) -> None:
    """Switch recomputation in the backward on or off; transformers renamed the methods in 5.23."""
    word = "enable" if on else "disable"
    name = f"activation_checkpointing_{word}"
    getattr(model, name if hasattr(model, name) else f"gradient_checkpointing_{word}")()
