"""The start model of an exported run, whose distance by training is the measure of distances by rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boresight.core.errors import UserError
from boresight.models.policy import Policy
from boresight.models.source import recipe_of_run, weights_at_hand

if TYPE_CHECKING:
    from boresight.export.plan import ExportPlan


def start_model(plan: ExportPlan) -> Policy | None:
    """The run's start model in float32 on the CPU; None where its weights are not on this machine, and for
    reward models, whose scores have no counterpart in the start model."""
    from boresight.models.load import load_model

    name = str((recipe_of_run(plan.run).get("model") or {}).get("name", ""))
    try:
        if plan.head == "score" or not name or not weights_at_hand(name):
            return None
        return load_model(name, device="cpu")
    except UserError:  # the folder of an earlier machine, or weights that the run was allowed to miss
        return None


def training_sentence(trained: float | None) -> str:
    """What is appended to a comparison: the KL of training on the same tokens, or nothing."""
    if trained is None:
        return ""
    return f" Training moved it {trained:.2g} nats per token from the start model on the same tokens."


def rounding_warning(what: str, rounded: float, trained: float | None, instead: str) -> str | None:
    """A sentence where rounding moved the model further than training did, both in nats per token."""
    if trained is None or rounded <= trained:
        return None
    return (
        f"{what}: rounding moved the model {rounded:.2g} nats per token and training {trained:.2g}, so the "
        f"effect of training may be lost in it; {instead}."
    )
