"""The loss at a margin comes from each method's own function, so that a sign planted there is seen here."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch.nn.functional as F

from boresight import methods
from boresight.checks.forecast.expected_loss import TOKENS, expected_loss
from boresight.checks.forecast.forecast import forecast
from boresight.methods import dpo
from boresight.methods.base import MethodConfig
from boresight.methods.inputs import LossOutput, PairLogps, PolicyPairLogps
from tests.checks import builders as b


def at(name, margin, **settings):
    method = methods.get(name)
    return expected_loss(method, method.Config(**settings), margin)


def test_losses_at_a_margin():
    """ln(1 + exp(-beta h)) by hand: ln 2 at 0; at beta 0.01 five nats leave 0.6685; at 0.5 one nat leaves
    0.474."""
    assert at("dpo", 0.0, beta=0.1) == pytest.approx(math.log(2))
    assert at("dpo", 5.0, beta=0.01) == pytest.approx(0.6685, abs=5e-5)
    assert at("dpo", 1.0, beta=0.5) == pytest.approx(0.4741, abs=5e-5)


def test_ipo_by_hand():
    """(h - 50)^2, and per token (h / 200 - 50)^2."""
    assert at("ipo", 0.0, tau=0.01) == pytest.approx(2500)
    assert at("ipo", 2.0, tau=0.01) == pytest.approx(48**2)
    assert at("ipo", 2.0, tau=0.01, reduction="mean") == pytest.approx((2 / TOKENS - 50) ** 2)


def test_the_hinge_falls_as_the_margin_grows():
    """max(0, 1 - beta h): 0.8 at 2 nats and beta 0.1, nothing from 10 nats on."""
    assert at("dpo", 0.0, loss_type="hinge") == pytest.approx(1.0)
    assert at("dpo", 2.0, loss_type="hinge") == pytest.approx(0.8)
    assert at("dpo", 12.0, loss_type="hinge") == 0.0


def test_a_wrong_sign_in_a_loss_shows_in_its_curve(monkeypatch):
    monkeypatch.setitem(dpo.LOSSES, "hinge", lambda logit: F.relu(1 + logit))
    assert at("dpo", 2.0, loss_type="hinge") == pytest.approx(1.2)
    f = forecast(b.recipe("dpo", "method.loss_type=hinge"), 900, b.QWEN)
    assert f.loss[0] < f.loss[1] < f.loss[2] < f.loss[3]


def test_options_of_dpo_count():
    """Smoothing 0.2 of the hinge at 2 nats: 0.8 * 0.8 + 0.2 * 1.2. Per token, 2 nats are 2 / 200."""
    assert at("dpo", 2.0, loss_type="hinge", label_smoothing=0.2) == pytest.approx(0.88)
    assert at("dpo", 2.0, length_normalised=True, beta=5.0) == pytest.approx(math.log1p(math.exp(-0.05)))
    assert at("dpo", 2.0, sft_weight=1.0) == at("dpo", 2.0) == at("dpo", 2.0, dpop_lambda=5.0)


@pytest.mark.parametrize("name", ["xpo", "xpo_offline"])
def test_the_bonus_of_xpo_is_left_out(name):
    assert at(name, 3.0, alpha=1e-3) == pytest.approx(at("dpo", 3.0))


CURVES = {"dpo", "ipo", "online_dpo", "xpo", "xpo_offline"}
NONE = {
    "simpo": "without a reference a margin starts wherever the data puts it",
    "reward": "so do scores",
    "kto": "a margin of pairs, on which curves were measured, is not that of single answers",
    "orpo": "without a reference, as simpo",
    "rloo": "groups have no margin",
    "grpo": "groups have no margin",
    "sft": "single answers have none",
}


def test_every_method_has_a_curve_or_a_reason_not_to():
    assert CURVES | set(NONE) == set(methods.names())
    assert {name for name in methods.names() if at(name, 1.0) is not None} == CURVES


@pytest.mark.parametrize(
    ("name", "settings"), [("dpo", []), ("ipo", ["method.tau=0.01"]), ("xpo_offline", [])]
)
def test_forecasts_of_given_pairs_have_a_loss(name, settings):
    f = forecast(b.recipe(name, *settings), 900, b.QWEN)
    assert f.loss[0] > f.loss[1] > f.loss[2] > f.loss[3]


@pytest.mark.parametrize("name", ["simpo", "reward", "xpo"])
def test_forecasts_of_others_have_none(name):
    f = forecast(b.recipe(name, reward=[{"function": "countdown"}]), 900, b.QWEN)
    assert (f.margin, f.loss) == (None, None)


# Losses of one's own ------------------------------------------------------------------------------------


class Config(MethodConfig):
    """Settings of a loss of this file."""


def loss(x: PairLogps, cfg: Config) -> LossOutput:
    """An exponential loss, found by the import path of this file."""
    return LossOutput.mean_of((-x.margin / 10).exp())


def own(function, Input=PairLogps):
    return replace(methods.get(__name__), loss=function, Input=Input)


def test_a_loss_of_ones_own_has_a_curve():
    assert expected_loss(methods.get(__name__), Config(), 5.0) == pytest.approx(math.exp(-0.5))
    f = forecast(b.recipe(__name__), 900, b.QWEN)
    assert f.loss == pytest.approx(
        [math.exp(-h / 10) for h in (0, f.margin.low, f.margin.middle, f.margin.high)]
    )


def test_a_loss_of_absolute_log_probabilities_has_none():
    assert expected_loss(own(lambda x, cfg: LossOutput.mean_of(-x.policy_chosen)), Config(), 5.0) is None


def test_a_loss_that_is_not_finite_has_none():
    assert expected_loss(own(lambda x, cfg: LossOutput.mean_of((-x.margin).log())), Config(), 5.0) is None


def test_a_loss_without_a_reference_is_not_called():
    assert expected_loss(own(lambda x, cfg: pytest.fail("called"), PolicyPairLogps), Config(), 5.0) is None


def test_both_answers_start_at_typical_log_probabilities():
    """Of 200 tokens at -1 and -2 nats each under the reference; half of the margin is gained, half lost."""
    seen = []

    def watched(x, cfg):
        seen.append([float(getattr(x, name)) for name in ("policy_chosen", "policy_rejected", "ref_chosen")])
        return LossOutput.mean_of(x.margin)

    assert expected_loss(own(watched), Config(), 5.0) == 5.0
    assert seen == [[-197.5, -202.5, -200.0], [-397.5, -402.5, -400.0]]
