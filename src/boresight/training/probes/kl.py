"""Measure the exact KL from the policy to the reference, per token, on held-out answers.

    KL(pi || ref) = sum_v pi(v) * (log pi(v) - log ref(v)),  averaged over positions

Both distributions are taken along the same given text (teacher forcing), so there is no sampling noise. The
reference's distributions are computed and stored before training, which is why the number of positions is
small.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from boresight.config.recipe import Recipe
from boresight.data.rows import Row
from boresight.models.kernels.wide_logits import wide_logits
from boresight.models.lora import adapters_off
from boresight.models.policy import Policy, last_logits
from boresight.training.forward import InputKind

POSITIONS_PER_ROW = 16
"""Number of positions per row; with 16 rows and a vocabulary of 150,000 the stored reference takes 155 MB."""


class KLProbe:
    """Probe of KL(pi || ref).

    The policy must equal the reference when the probe is created; each call measures the current policy.
    """

    def __init__(self, policy: Policy, rows: Sequence[Row]) -> None:
        self._policy = policy
        self._rows = rows
        with adapters_off(policy), torch.no_grad():
            self._reference = [_log_distributions(policy, row) for row in rows]

    @torch.no_grad()
    def __call__(self, step: int = 0) -> dict[str, dict[str, float]]:
        """Measure the KL, and return `{"kl_per_token": {row id: nats}}`."""
        training = self._policy.training
        self._policy.eval()
        kl = {}
        for row, reference in zip(self._rows, self._reference, strict=True):
            policy = _log_distributions(self._policy, row)
            kl[row.id] = float(kl_divergence(policy, reference).mean())
        self._policy.train(training)
        return {"kl_per_token": kl}


def kl_probe(recipe: Recipe, kind: InputKind, policy: Policy, rows: Sequence[Row]) -> list[KLProbe]:
    """Return the probe on `evaluate.kl_rows` of the rows; an empty list for methods without a reference."""
    rows = rows[: recipe.evaluate.kl_rows]
    return [KLProbe(policy, rows)] if kind.needs_reference and rows else []


def kl_divergence(policy: Tensor, reference: Tensor) -> Tensor:
    """Return the KL, in nats `(...)`, between distributions given as log-probabilities `(..., vocabulary)`.

    Tokens of probability 0 add nothing. Some models set the logits of padded vocabulary to minus infinity,
    and 0 · (-inf + inf) would be NaN.
    """
    share = policy.exp()
    return torch.where(share > 0, share * (policy - reference), 0.0).sum(-1)


def _log_distributions(model: Policy, row: Row) -> Tensor:
    """Return log-probabilities `(positions, vocabulary)` along the start of the first answer."""
    answer = row.completions[0].ids[:POSITIONS_PER_ROW]
    ids = torch.tensor([*row.prompt.tolist(), *answer.tolist()], device=model.device)
    with wide_logits(model):
        logits = last_logits(model, ids, len(answer) + 1)[:-1]
    return F.log_softmax(logits.float(), dim=-1)
