"""Measure the signs of a loss's gradients on synthetic inputs.

The same inputs serve every method of a kind, so a wrong sign in a new method is detected too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from boresight.methods import Method
from boresight.methods.base import MethodConfig
from boresight.methods.inputs import (
    GroupLogps,
    GroupTokenLogps,
    LabeledLogps,
    LossInput,
    LossOutput,
    OnlinePairLogps,
    PairLogps,
    PairScores,
    PolicyPairLogps,
)


def directions(method: Method, cfg: MethodConfig) -> dict[str, float]:
    """Return differences of the loss's gradients by log-probability, at synthetic inputs.

    `better` is the gradient of the chosen answer (or better-rewarded sample) minus that of the other; it must
    be negative. `strayed` is the gradient of a sample further from the reference minus that of an equally
    rewarded one; it must be positive, and is present only for methods with a KL weight. It is 0 if all
    samples get the same gradient, for example from a log-ratio that is a term of the loss. The result is
    empty for types of input that have no synthetic input.
    """
    probe = PROBES.get(method.Input)
    return probe(method.loss, cfg) if probe else {}


Loss = Callable[[LossInput, MethodConfig], LossOutput]


def _pair(loss: Loss, cfg: MethodConfig) -> dict[str, float]:
    chosen, rejected = _leaf(-20.0), _leaf(-20.0)
    start, length = torch.tensor([-20.0]), torch.tensor([10.0])
    return _lead(loss(PairLogps(chosen, rejected, start, start, length, length), cfg), chosen, rejected)


def _online_pair(loss: Loss, cfg: MethodConfig) -> dict[str, float]:
    chosen, rejected = _leaf(-20.0), _leaf(-20.0)
    start, length = torch.tensor([-20.0]), torch.tensor([10.0])
    x = OnlinePairLogps(chosen, rejected, start, start, length, length, torch.tensor([False]))
    return _lead(loss(x, cfg), chosen, rejected)


def _policy_pair(loss: Loss, cfg: MethodConfig) -> dict[str, float]:
    chosen, rejected, length = _leaf(-20.0), _leaf(-20.0), torch.tensor([10.0])
    return _lead(loss(PolicyPairLogps(chosen, rejected, length, length), cfg), chosen, rejected)


def _labeled(loss: Loss, cfg: MethodConfig) -> dict[str, float]:
    good, bad = _leaf(-20.0), _leaf(-20.0)
    start, length, label = torch.full((2,), -20.0), torch.full((2,), 10.0), torch.tensor([True, False])
    return _lead(loss(LabeledLogps(torch.cat([good, bad]), start, length, label, 0 * start), cfg), good, bad)


def _scores(loss: Loss, cfg: MethodConfig) -> dict[str, float]:
    chosen, rejected = _leaf(0.0), _leaf(0.0)
    return _lead(loss(PairScores(chosen, rejected, torch.tensor([0.0])), cfg), chosen, rejected)


def _group(loss: Loss, cfg: MethodConfig, kind: type[GroupLogps] = GroupLogps) -> dict[str, float]:
    found = {"better": _slope(loss, cfg, kind, rewards=(1.0, 0.0), drift=0.0)}
    if getattr(cfg, "beta", 0) > 0:
        found["strayed"] = _slope(loss, cfg, kind, rewards=(0.5, 0.5), drift=4.0)
    return found


def _token_group(loss: Loss, cfg: MethodConfig) -> dict[str, float]:
    return _group(loss, cfg, GroupTokenLogps)


def _slope(
    loss: Loss, cfg: MethodConfig, kind: type[GroupLogps], rewards: tuple[float, float], drift: float
) -> float:
    """Return the gradient of the first of two samples minus that of the second.

    The first sample is `drift` nats likelier under the policy than under the reference. All tokens of a
    sample are alike, so losses per token use the mean of the sample for each of them.
    """
    policy = torch.tensor([[-20.0, -20.0]], requires_grad=True)
    x = kind(
        policy=policy,
        old=policy.detach(),
        ref=torch.tensor([[-20.0 - drift, -20.0]]),
        reward=torch.tensor([list(rewards)]),
        length=torch.full((1, 2), 10.0),
        truncated=torch.zeros(1, 2, dtype=torch.bool),
    )
    loss(x, cfg).loss.backward()
    assert policy.grad is not None
    return float(policy.grad[0, 0] - policy.grad[0, 1])


def _leaf(value: float) -> Tensor:
    return torch.tensor([value], requires_grad=True)


def _lead(out: LossOutput, chosen: Tensor, rejected: Tensor) -> dict[str, float]:
    out.loss.backward()
    assert chosen.grad is not None and rejected.grad is not None
    return {"better": float(chosen.grad - rejected.grad)}


PROBES: dict[type[LossInput], Callable[[Loss, MethodConfig], dict[str, float]]] = {
    PairLogps: _pair,
    OnlinePairLogps: _online_pair,
    PolicyPairLogps: _policy_pair,
    LabeledLogps: _labeled,
    PairScores: _scores,
    GroupLogps: _group,
    GroupTokenLogps: _token_group,
}
