"""The value each pairwise loss must start at, on a real model with a fresh adapter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from boresight import methods
from boresight.data.rows import Completion, Row
from boresight.methods.inputs import PairLogps

pytestmark = pytest.mark.starter

PAIRS = [
    ("Name a colour.", " Blue is a colour.", " No."),
    ("What is two plus two?", " Four.", " Two plus two is twenty-two, I think."),
]


@pytest.fixture(scope="module")
def first_step() -> PairLogps:
    """Policy with gradients and adapters on, reference without either, from two forward passes."""
    from boresight.config.lora import LoraConfig
    from boresight.models.load import load_model, load_tokenizer
    from boresight.models.lora import attach
    from boresight.models.packed.logprobs import completion_logprobs
    from boresight.models.reference.frozen import store_reference

    tokenizer = load_tokenizer("starter")
    policy = attach(load_model("starter"), LoraConfig(), seed=0)

    def ids(text: str) -> np.ndarray:
        return np.array(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)

    def answer(text: str) -> Completion:
        return Completion(ids(text), np.ones(len(ids(text)), dtype=bool))

    rows = [Row(q, ids(q), (answer(won), answer(lost))) for q, won, lost in PAIRS]
    ref = store_reference(policy, rows, 4096)(rows)
    logps = completion_logprobs(policy, rows)
    return PairLogps(*logps.sums.unbind(1), *ref.unbind(1), *logps.lengths.unbind(1))


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("dpo", {}, math.log(2)),
        ("dpo", {"beta": 0.01}, math.log(2)),
        ("dpo", {"loss_type": "hinge"}, 1.0),
        ("ipo", {"tau": 0.01}, 2500.0),
        ("ipo", {"tau": 0.1, "reduction": "mean"}, 25.0),
    ],
)
def test_starts_where_the_formula_says(first_step, name, settings, expected):
    method = methods.get(name)
    assert method.loss(first_step, method.Config(**settings)).loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("explore", ["rejected", "chosen"])
def test_offline_xpo_starts_lower_by_alpha_times_the_log_probability(first_step, explore):
    method = methods.get("xpo_offline")
    explored = first_step.ref_rejected if explore == "rejected" else first_step.ref_chosen
    assert explored.mean() < -5, "answers this likely would hide the term"
    expected = math.log(2) + 0.1 * explored.mean().item()
    cfg = method.Config(alpha=0.1, allow_large_alpha=True, explore=explore)
    torch.testing.assert_close(method.loss(first_step, cfg).loss.item(), expected, rtol=1e-4, atol=1e-4)
