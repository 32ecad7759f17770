"""Compare the effect of rounding on an exported model with the effect of training.

The effect of training is the KL between the run's model and its start model, per token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from boresight.core.errors import UserError
from boresight.models.policy import Policy
from boresight.models.source import recipe_of_run, weights_at_hand

if TYPE_CHECKING:
    from boresight.export.plan import ExportPlan


def start_model(plan: ExportPlan) -> Policy | None:
    """Load the run's start model in float32 on the CPU.

    The result is None if its weights are not on this machine or cannot be loaded, and for reward models,
    whose scores the start model does not have.
    """
    from boresight.models.load import load_model

    name = str((recipe_of_run(plan.run).get("model") or {}).get("name", ""))
    try:
        if plan.head == "score" or not name or not weights_at_hand(name):
            return None
        return load_model(name, device="cpu")
    except UserError:  # the folder of an earlier machine, or weights that the run was allowed to miss
        return None


def training_sentence(trained: float | None) -> str:
    """Return a sentence with the KL due to training, `trained`, in nats per token; '' if it is None."""
    if trained is None:
        return ""
    return f" Training moved it {trained:.2g} nats per token from the start model on the same tokens."


def rounding_warning(what: str, rounded: float, trained: float | None, instead: str) -> str | None:
    """Return a warning if the KL due to rounding exceeds the KL due to training, else None.

    Args:
        what: file or dtype that was rounded.
        rounded: KL due to rounding, nats per token.
        trained: KL due to training, nats per token; None if it was not measured.
        instead: what the user can do about it.
    """
    if trained is None or rounded <= trained:
        return None
    return (
        f"{what}: rounding moved the model {rounded:.2g} nats per token and training {trained:.2g}, so the "
        f"effect of training may be lost in it; {instead}."
    )
