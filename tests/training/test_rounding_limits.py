"""The limits of rounding on noise measured with the starter: 64,000 completions pass, planted faults do not.

`rounding.npz` is written by `benchmarks/rounding.py --write`.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from boresight import methods
from boresight.core.errors import UserError
from boresight.methods.inputs import GroupLogps, PairLogps
from boresight.models.precision import TOKEN_NOISE
from boresight.models.reference.cache import _differ
from boresight.training.initial_loss import check_fresh, check_initial_loss, check_sampler
from boresight.training.metrics import row_metrics

MEASURED = dict(np.load(Path(__file__).parent / "rounding.npz"))
BFLOAT16 = TOKEN_NOISE[torch.bfloat16]
BATCHES, ROWS, K = 1000, 8, 8
"""Of completions; 64,000 in all."""


def draws(kind, seed):
    """Summed noise of tokens that follow each other, and their numbers from 1 to 400, `(BATCHES, ROWS, K)`.

    The measured completions are joined in 40 random orders, so that a draw holds whole completions.
    """
    rng = np.random.default_rng(seed)
    parts = np.split(MEASURED[kind].astype(np.float64), np.cumsum(MEASURED["length"])[:-1])
    joined = np.concatenate([parts[i] for _ in range(40) for i in rng.permutation(len(parts))])
    sums = np.concatenate([[0.0], np.cumsum(joined)])
    shape = (BATCHES, ROWS, K)
    length = np.exp(rng.uniform(0, np.log(401), shape)).astype(np.int64)
    start = rng.integers(0, len(joined) - 400, shape)
    return torch.from_numpy(sums[start + length] - sums[start]), torch.from_numpy(length).double()


def group(gap, length):
    """A group whose policy is off by `gap` from sampler and reference."""
    at = -2.0 * length
    reward = torch.zeros_like(at)
    truncated = torch.zeros_like(at, dtype=torch.bool)
    return GroupLogps(at + gap, at, at, reward, length, truncated, sampled=at)


def pairs(gap, length):
    """Pairs whose policy is off by `gap` from the reference; sides are the two halves of the completions."""
    chosen, rejected = gap.flatten().chunk(2)
    chosen_len, rejected_len = length.flatten().chunk(2)
    at, other = -2.0 * chosen_len, -2.0 * rejected_len
    return PairLogps(at + chosen, other + rejected, at, other, chosen_len, rejected_len)


def check_pairs(x, name="dpo"):
    method = methods.get(name)
    cfg = method.Config()
    check_initial_loss(x, method.loss(x, cfg), method.loss, cfg, noise=BFLOAT16)


@pytest.mark.parametrize("name", ["dpo", "ipo"])
def test_no_first_step_is_refused_for_rounding(name):
    """The reference was computed in forwards of another shape."""
    for gap, length in zip(*draws("shape", seed=0), strict=True):
        check_pairs(pairs(gap, length), name)


def test_no_rollout_is_refused_for_rounding():
    """The sampler computes in float32, the trainer in bfloat16: at the first step, and at later rollouts."""
    for step, (gap, length) in enumerate(zip(*draws("precision", seed=1), strict=True)):
        x = group(gap, length)
        check_sampler(x.policy, x.sampled, x.length, noise=BFLOAT16)
        check_fresh(row_metrics(x), completions=K, noise=BFLOAT16, step=step)


def test_no_stored_reference_is_refused_for_rounding():
    gap, length = (x.flatten(0, 1) for x in draws("shape", seed=2))
    assert not any(_differ(-2.0 * n + g, -2.0 * n, n, BFLOAT16) for g, n in zip(gap, length, strict=True))


def faulty(kind):
    """Summed gaps and lengths of the completions that were measured with a fault."""
    length = MEASURED["fault_length"].astype(np.int64)
    parts = np.split(MEASURED[kind].astype(np.float64), np.cumsum(length)[:-1])
    return torch.tensor([part.sum() for part in parts]), torch.from_numpy(length).double()


def in_batches(gap, length, size=16):
    """Of so many completions each, the rest left out."""
    full = len(gap) // size * size
    return list(zip(gap[:full].view(-1, size), length[:full].view(-1, size), strict=True))


def test_a_wrong_temperature_is_found():
    """0.9 in place of 1: each batch of 16 completions of 30 to 64 tokens."""
    for gap, length in in_batches(*faulty("temperature")):
        with pytest.raises(UserError, match="another temperature"):
            check_sampler(gap, torch.zeros_like(gap), length, noise=BFLOAT16)


def test_a_wrong_reference_is_found():
    """Weights off by 2 % of their spread."""
    for gap, length in in_batches(*faulty("reference")):
        with pytest.raises(UserError, match="the policy is not the reference"):
            check_pairs(pairs(gap, length))
        assert _differ(gap, torch.zeros_like(gap), length, BFLOAT16)


@pytest.mark.parametrize("kind", ["shape", "precision"])
def test_a_mask_that_is_off_by_one_is_found(kind):
    """The first token of each completion is not scored: the sums lack its log-probability."""
    starts = np.cumsum(MEASURED["length"]) - MEASURED["length"]
    length = MEASURED["length"].astype(np.float64)
    parts = np.split(MEASURED[kind].astype(np.float64), starts[1:])
    noise = np.array([part.sum() for part in parts])
    gap = torch.from_numpy(noise - MEASURED["logp"][starts])
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(gap)))
    for some, tokens in in_batches(gap[order], torch.from_numpy(length)[order]):
        with pytest.raises(UserError, match="the policy is not the reference"):
            check_pairs(pairs(some, tokens))
