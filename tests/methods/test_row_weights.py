"""A weight of a row is the row that many times, in loss and gradient, for every method of given data."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from boresight import methods
from boresight.config.recipe import SAMPLED
from boresight.core.errors import UserError
from boresight.methods.inputs import LossOutput, SequenceLogps
from tests.methods.conftest import POLICY
from tests.methods.test_contract import CASES, prepared

OFFLINE = [(name, options) for name, options in CASES if not issubclass(methods.get(name).Input, SAMPLED)]
TIMES = torch.tensor([1, 2, 3, 1, 1, 4, 2, 1])


def repeated(x):
    return replace(x, **{f.name: getattr(x, f.name).repeat_interleave(TIMES, 0) for f in fields(x)})


@pytest.mark.parametrize(("name", "options"), OFFLINE, ids=lambda v: str(v).replace(" ", ""))
def test_a_weight_is_the_row_that_many_times(name, options, batches):
    loss, x, cfg = prepared(name, options, batches)
    wanted = [getattr(x, field) for field in POLICY[type(x)]]
    once = loss(x, cfg).by_weights(TIMES.double())
    often = loss(repeated(x), cfg)
    assert once.loss.item() == pytest.approx(often.loss.item(), rel=1e-12)
    assert float(once.weight) == pytest.approx(float(often.weight), rel=1e-12)
    for one, other in zip(
        torch.autograd.grad(once.loss, wanted), torch.autograd.grad(often.loss, wanted), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_pairs_by_hand():
    """Losses 1 and 4 with weights 3 and 1: (3 + 4) / 4."""
    out = LossOutput.mean_of(torch.tensor([1.0, 4.0])).by_weights(torch.tensor([3.0, 1.0]))
    assert float(out.loss) == 1.75 and float(out.weight) == 4


def test_demonstrations_by_hand():
    """Of 2 and 6 tokens at -1 and -0.5 nats each, weights 3 and 1: (3 * 2 + 3) / (3 * 2 + 6)."""
    x = SequenceLogps(policy=torch.tensor([-2.0, -3.0]), length=torch.tensor([2.0, 6.0]))
    method = methods.get("sft")
    out = method.loss(x, method.Config()).by_weights(torch.tensor([3.0, 1.0]))
    assert float(out.loss) == pytest.approx(9 / 12) and float(out.weight) == 12


def test_only_the_ratio_of_weights_counts(batches):
    loss, x, cfg = prepared("dpo", {}, batches)
    out = loss(x, cfg)
    one, other = out.by_weights(TIMES.double()), out.by_weights(0.1 * TIMES.double())
    assert one.loss.item() == pytest.approx(other.loss.item(), rel=1e-12)


def test_a_loss_that_is_no_mean_over_rows_is_refused():
    each = torch.tensor([1.0, 2.0])
    with pytest.raises(UserError, match=r"data\.weight: the loss of this method is no mean over rows"):
        LossOutput(loss=each.max(), per_example=each, weight=2.0).by_weights(torch.ones(2))
