"""Random inputs of every kind, seeded, so that a test over all methods needs no method's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from boresight.methods import inputs

POLICY = {
    inputs.SequenceLogps: ("policy",),
    inputs.PolicyPairLogps: ("policy_chosen", "policy_rejected"),
    inputs.PairLogps: ("policy_chosen", "policy_rejected"),
    inputs.OnlinePairLogps: ("policy_chosen", "policy_rejected"),
    inputs.LabeledLogps: ("policy",),
    inputs.PairScores: ("chosen", "rejected"),
    inputs.GroupLogps: ("policy",),
    inputs.GroupTokenLogps: ("policy_tokens",),
}


class Batches:
    """Makes inputs; leaves of the graph are what the policy (or the reward head) computes."""

    def make(self, kind: type[Any], size: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Any:
        """A batch of `size` rows in plausible ranges: lengths 1 to 60, about -1.5 nats per token."""
        g = torch.Generator().manual_seed(seed)

        def uniform(low: float, high: float, shape: tuple[int, ...] = (size,)) -> Tensor:
            return (torch.rand(shape, generator=g, dtype=torch.float64) * (high - low) + low).to(dtype)

        def length(shape: tuple[int, ...] = (size,)) -> Tensor:
            return torch.randint(1, 61, shape, generator=g).to(dtype)

        if kind is inputs.SequenceLogps:
            n = length()
            x = kind(policy=-n * uniform(0.5, 2.5), length=n)
        elif kind is inputs.LabeledLogps:
            n = length()
            policy = -n * uniform(0.5, 2.5)
            x = kind(policy, policy + uniform(-8, 8), n, label=uniform(0, 1) < 0.5, kl=uniform(-2, 6))
        elif kind is inputs.PairScores:
            x = kind(uniform(-3, 3), uniform(-3, 3), score_gap=uniform(0, 4))
        elif issubclass(kind, inputs.GroupLogps):
            shape = (size, 5)
            n = length(shape)
            policy = -n * uniform(0.5, 2.5, shape)
            reward = uniform(0, 1, shape).round()
            reward[uniform(0, 1, shape) < 0.15] = torch.nan
            old, ref = policy + uniform(-0.4, 0.4, shape), policy + uniform(-3, 3, shape)
            truncated = uniform(0, 1, shape) < 0.2
            if kind is inputs.GroupTokenLogps:
                there = torch.arange(60) < n.unsqueeze(-1)
                tokens = uniform(-2.5, -0.5, (*shape, 60)) * there
                old_t, ref_t = (tokens + uniform(-d, d, tokens.shape) * there for d in (0.3, 0.6))
                x = kind(
                    tokens.sum(-1), old_t.sum(-1), ref_t.sum(-1), reward, n, truncated,
                    policy_tokens=tokens, old_tokens=old_t, ref_tokens=ref_t,
                )  # fmt: skip
            else:
                x = kind(policy, old, ref, reward, n, truncated=truncated)
        else:
            n_w, n_l = length(), length()
            won, lost = -n_w * uniform(0.5, 2.5), -n_l * uniform(0.5, 2.5)
            fields = {"policy_chosen": won, "policy_rejected": lost, "chosen_len": n_w, "rejected_len": n_l}
            if issubclass(kind, inputs.PairLogps):
                fields |= {"ref_chosen": won + uniform(-8, 8), "ref_rejected": lost + uniform(-8, 8)}
            if kind is inputs.OnlinePairLogps:
                fields["chosen_from_ref"] = uniform(0, 1) < 0.5
            x = kind(**fields)
        return self.leaves(x)

    def leaves(self, x: Any) -> Any:
        """The same values, cut from any graph, with gradients wanted for what the policy computes."""
        fields = {name: getattr(x, name).detach().clone() for name in x.__dataclass_fields__}
        for name in POLICY[type(x)]:
            fields[name].requires_grad_()
        return type(x)(**fields)

    def take(self, x: Any, rows: Any) -> Any:
        """Rows of a batch, as fresh leaves."""
        return self.leaves(type(x)(**{name: getattr(x, name)[rows] for name in x.__dataclass_fields__}))

    def grads(self, x: Any) -> Tensor:
        """Gradients of the leaves after a backward pass, `(batch, ...)`."""
        return torch.stack([getattr(x, name).grad for name in POLICY[type(x)]], dim=1)


@pytest.fixture(scope="session")
def batches() -> Batches:
    return Batches()


@pytest.fixture(scope="session")
def pair() -> Callable[..., inputs.PairLogps]:
    """One pair in float64. The default is worked by hand throughout these tests:

    chosen log-ratio 3, rejected log-ratio -2, so h = 5; per token 3/10 - (-2)/20 = 0.4.
    """

    def make(
        won: float = -12.0, lost: float = -30.0, ref_won: float = -15.0, ref_lost: float = -28.0,
        won_len: float = 10.0, lost_len: float = 20.0,
    ) -> inputs.PairLogps:  # fmt: skip
        numbers = (won, lost, ref_won, ref_lost, won_len, lost_len)
        x = inputs.PairLogps(*(torch.tensor([n], dtype=torch.float64) for n in numbers))
        x.policy_chosen.requires_grad_()
        x.policy_rejected.requires_grad_()
        return x

    return make
