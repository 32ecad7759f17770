"""A term of weight 0 is left out: where it is NaN or infinite, neither the loss nor a gradient is."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from boresight import methods
from boresight.methods import dpo, inputs, reward, rloo, xpo, xpo_offline

CERTAIN_LOSER = {"lost": -math.inf}
"""The policy gives the rejected answer no probability: h is infinite and the preference loss 0."""


@pytest.mark.parametrize(
    "settings", [{}, {"loss_type": "hinge"}, {"label_smoothing": 0.0, "sft_weight": 0.0, "dpop_lambda": 0.0}]
)
def test_dpo_of_an_impossible_rejected_answer_is_zero(pair, settings):
    """-log sigmoid(inf) = 0 and max(0, 1 - inf) = 0; a share of 0 flipped labels adds none of its inf."""
    assert dpo.loss(pair(**CERTAIN_LOSER), dpo.Config(**settings)).loss.item() == 0.0


def test_smoothing_and_sft_above_zero_do_count(pair):
    assert dpo.loss(pair(**CERTAIN_LOSER), dpo.Config(label_smoothing=0.1)).loss.item() == math.inf
    assert dpo.loss(pair(**CERTAIN_LOSER), dpo.Config(sft_weight=0.5)).loss.item() == 0.5 * 12 / 10


def test_dpop_of_weight_zero_leaves_h_alone(pair):
    """h = 5 whatever the shortfall."""
    x = pair()
    assert dpo.loss(x, dpo.Config(beta=1.0)).loss.item() == pytest.approx(math.log1p(math.exp(-5)))
    assert inputs.weighted(0.0, torch.tensor([math.nan, math.inf, 2.0])).tolist() == [0.0, 0.0, 0.0]
    assert inputs.weighted(0.5, torch.tensor([2.0])).tolist() == [1.0]


def test_xpo_without_optimism_is_dpo(pair):
    x = pair(**CERTAIN_LOSER)
    out = xpo_offline.loss(x, xpo_offline.Config(alpha=0.0, explore="rejected"))
    assert out.loss.item() == 0.0
    online = inputs.OnlinePairLogps(
        **{f.name: getattr(x, f.name) for f in fields(x)}, chosen_from_ref=torch.tensor([False])
    )
    assert xpo.loss(online, xpo.Config(alpha=0.0)).loss.item() == 0.0


def test_a_reward_model_that_ignores_scores_and_level(batches):
    """Pairs without scores have a gap of NaN, and rewards of 1e200 a squared sum of inf."""
    x = batches.make(inputs.PairScores, 4)
    cfg = reward.Config(margin_scale=0.0, centering=0.0)
    unscored = replace(x, score_gap=torch.full_like(x.score_gap, torch.nan))
    assert torch.equal(reward.loss(unscored, cfg).loss, reward.loss(x, cfg).loss)
    huge = replace(x, chosen=torch.full_like(x.chosen, 1e200), rejected=torch.full_like(x.rejected, 1e200))
    assert reward.loss(huge, cfg).loss.item() == pytest.approx(math.log(2))


def test_rloo_with_beta_zero_does_not_look_at_the_reference(batches):
    x = batches.make(inputs.GroupLogps, 4)
    blind = batches.leaves(replace(x, ref=torch.full_like(x.ref, torch.nan)))
    cfg = rloo.Config(beta=0.0)
    out, other = rloo.loss(x, cfg), rloo.loss(blind, cfg)
    out.loss.backward()
    other.loss.backward()
    assert torch.equal(out.loss, other.loss) and torch.equal(batches.grads(x), batches.grads(blind))


KNOWN = {
    "dpo": {"label_smoothing", "dpop_lambda", "sft_weight"},
    "grpo": {"beta", "truncation_penalty"},
    "rloo": {"beta", "truncation_penalty"},
    "reward": {"margin_scale", "centering"},
    "xpo": {"alpha", "replay"},
    "xpo_offline": {"alpha"},
    "simpo": {"gamma"},
}
"""Numbers that may be 0. `gamma` and `truncation_penalty` are subtracted as they are and multiply nothing;
`replay` counts pairs."""


def test_every_weight_that_may_be_zero_is_known():
    found = {}
    for name in methods.names():
        config = methods.get(name).Config
        for field in config.model_fields:
            if isinstance(getattr(config(), field), float) and _accepts_zero(config, field):
                found.setdefault(name, set()).add(field)
    assert found == KNOWN


def _accepts_zero(config, field):
    try:
        config(**{field: 0.0})
    except ValueError:
        return False
    return True
