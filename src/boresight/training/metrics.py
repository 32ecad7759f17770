"""Compute metrics by row for every kind of input, and their means over rows.

Values are collected per row and averaged once, so a metric does not depend on the division of a batch into
micro-batches, and a short last batch is not over-weighted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import singledispatch

import torch
from torch import Tensor

from boresight.methods.inputs import (
    GroupLogps,
    LabeledLogps,
    LossInput,
    LossOutput,
    PairLogps,
    PairScores,
    PolicyPairLogps,
    SequenceLogps,
)
from boresight.models.kernels.to_device import to_device
from boresight.models.precision import per_root_token, widest_float
from boresight.stats.paired import ByRow
from boresight.training.distributed import collectives

RowMetrics = dict[str, Tensor]
SHORTEST = 100
"""Minimum number of tokens from which the rounding error of a sum is proportional to its length."""


@singledispatch
def row_metrics(x: LossInput) -> RowMetrics:
    """Return the metrics of an input, each `(rows,)`."""
    raise TypeError(f"no metrics for {type(x).__name__}")


@row_metrics.register
def _(x: SequenceLogps) -> RowMetrics:
    return {"nll_per_token": -x.policy / x.length, "length": x.length}


@row_metrics.register
def _(x: PolicyPairLogps) -> RowMetrics:
    gap = x.policy_chosen / x.chosen_len - x.policy_rejected / x.rejected_len
    return {
        "margin": gap,
        "accuracy": _wins(gap),
        "chosen_logps": x.policy_chosen,
        "rejected_logps": x.policy_rejected,
        "chosen_len": x.chosen_len,
        "rejected_len": x.rejected_len,
    }


@row_metrics.register
def _(x: PairLogps) -> RowMetrics:
    per_token = (x.chosen_logratio + x.rejected_logratio) / (x.chosen_len + x.rejected_len)
    return {
        "margin": x.margin,
        "accuracy": _wins(x.margin),
        "chosen_logps": x.policy_chosen,
        "rejected_logps": x.policy_rejected,
        "chosen_logratio": x.chosen_logratio,
        "rejected_logratio": x.rejected_logratio,
        "logratio_per_token": per_token,
        "chosen_len": x.chosen_len,
        "rejected_len": x.rejected_len,
    }


@row_metrics.register
def _(x: LabeledLogps) -> RowMetrics:
    """Return metrics in which good answers are the chosen ones and bad answers the rejected ones.

    A row has NaN in the metrics of the other side.
    """
    known = {"logps": x.policy, "logratio": x.logratio, "len": x.length}
    sides = {
        f"{side}_{name}": torch.where(on_side, value, math.nan)
        for side, on_side in (("chosen", x.label), ("rejected", ~x.label))
        for name, value in known.items()
    }
    return {
        "margin": x.margin,
        "accuracy": _wins(x.margin),
        "reference_point": x.reference_point,
        "logratio_per_token": x.logratio / x.length,
        **sides,
    }


@row_metrics.register
def _(x: PairScores) -> RowMetrics:
    margin = x.chosen - x.rejected
    return {"margin": margin, "accuracy": _wins(margin), "score": (x.chosen + x.rejected) / 2}


@row_metrics.register
def _(x: GroupLogps) -> RowMetrics:
    return {
        "length": x.length.mean(-1),
        "logp_per_token": (x.policy / x.length).mean(-1),
        "sampler_gap": sampler_gap(x.policy, x.sampled, x.length).amax(-1),
        "sampler_shift": (x.policy - x.sampled).sum(-1) / x.length.sum(-1),
        "sampler_spread": per_root_token(x.policy - x.sampled, x.length).amax(-1),
    }


def sampler_gap(policy: Tensor, drawn: Tensor, length: Tensor) -> Tensor:
    """Return |policy - drawn| / tokens of each completion, nats per token, in the shape of the arguments.

    The shape is `(rows, k)`, for example. Completions shorter than `SHORTEST` count as `SHORTEST` tokens.
    """
    return (policy - drawn).abs() / length.clamp(min=SHORTEST)


def _wins(margin: Tensor) -> Tensor:
    """Return 1 where the chosen answer has the higher value, else 0; one half for ties.

    A margin below a thousandth of a nat is within rounding errors and counts as a tie.
    """
    leads = torch.where(margin.abs() < 1e-3, 0.0, margin.sign())
    return (leads + 1) / 2


class Gathered:
    """Metrics of rows and the loss, collected over micro-batches.

    Values stay on their device and are transferred once: a read per micro-batch would make the host wait for
    the device, and the device afterwards for the host.
    """

    def __init__(self) -> None:
        self._added: list[tuple[RowMetrics, Tensor, Tensor]] = []
        self._rows: list[RowMetrics] = []
        self._loss = 0.0
        self._weight = 0.0
        self.ids: list[str] = []

    def add(self, ids: Sequence[str], x: LossInput, out: LossOutput) -> None:
        """Add one micro-batch with its input and loss; `ids` are the ids of its rows."""
        self.ids += ids
        rows = {**row_metrics(x), **out.metrics}
        loss, weight = out.loss.detach(), out.weight
        if not isinstance(weight, Tensor):
            weight = torch.full_like(loss, weight, dtype=widest_float(loss.device))
        self._added.append(({name: value.detach().float() for name, value in rows.items()}, loss, weight))

    @property
    def weight(self) -> float:
        """Sum of the weights of all micro-batches."""
        self._look()
        return self._weight

    @property
    def loss(self) -> float:
        """Sum of loss times weight over all micro-batches."""
        self._look()
        return self._loss

    def _look(self) -> None:
        """Transfer the values that were added since the last call to the host."""
        if not self._added:
            return
        tensors = [t for rows, loss, weight in self._added for t in (*rows.values(), loss, weight)]
        device = tensors[-1].device  # rows skipped without a forward come first and are on the host
        flat = torch.cat(
            [to_device(t.detach(), device).to(widest_float(device)).reshape(-1) for t in tensors]
        ).cpu()
        parts = iter(flat.split([t.numel() for t in tensors]))
        for names, _, _ in self._added:
            self._rows.append({name: next(parts).float() for name in names})
            loss, weight = float(next(parts)), float(next(parts))
            self._loss += loss * weight
            self._weight += weight
        self._added.clear()

    def of_all(self) -> Gathered:
        """Return the metrics of all processes together."""
        if collectives.world() == 1:
            return self
        self._look()
        whole = Gathered()
        rows = self.rows() if self._rows else {}
        numbers = torch.tensor([self._loss, self._weight], dtype=torch.float64)
        ids = torch.frombuffer(bytearray(json.dumps(self.ids).encode()), dtype=torch.uint8)
        for part in collectives.gather_tensors({"/numbers": numbers, "/ids": ids} | rows):
            loss, weight = part.pop("/numbers").tolist()
            whole._loss += loss
            whole._weight += weight
            whole.ids += json.loads(bytes(part.pop("/ids").tolist()))
            whole._rows += [part] if part else []
        return whole

    def rows(self) -> RowMetrics:
        """Return every metric as one tensor `(rows,)`, in the order in which the micro-batches were added."""
        self._look()
        return {name: torch.cat([part[name] for part in self._rows]) for name in self._rows[0]}

    def by_row(self) -> ByRow:
        """Return every metric as a dictionary from row id to value."""
        return {name: dict(zip(self.ids, v.tolist(), strict=True)) for name, v in self.rows().items()}

    def summary(self) -> dict[str, float]:
        """Return means over rows, quantiles of the margin, and the weighted mean of the loss."""
        rows = self.rows()
        numbers = {"loss": self._loss / self._weight if self._weight else float("nan")}
        numbers |= {name: float(value.nanmean()) for name, value in rows.items()}
        if "margin" in rows:
            low, mid, high = quantiles(rows["margin"], (0.1, 0.5, 0.9))
            numbers |= {"margin_p10": low, "margin_p50": mid, "margin_p90": high}
        return numbers


def quantiles(values: Tensor, at: Sequence[float]) -> list[float]:
    """Return the quantiles `at` of `values` `(n,)` by linear interpolation, ignoring NaN."""
    return torch.nanquantile(values, torch.tensor(at, dtype=values.dtype)).tolist()
