"""Learning a few rows by heart: a sound setup does it, a broken one is named."""

from __future__ import annotations

import io
import math

import pytest
import torch
from rich.console import Console

from boresight import methods
from boresight.core.errors import UserError
from boresight.data.stop_tokens import wire_stop_tokens
from boresight.models.reference.frozen import store_reference
from boresight.runs.check import overfit as module
from boresight.runs.check.overfit import Start, learn, learnable
from boresight.training.mismatched import each_alone, together, with_mismatched
from tests.checks import builders as b
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fixtures import random_rows


def start(name="dpo", rows=None, policy=None, reference=True):
    tokenizer = tiny_tokenizer()
    policy = policy or tiny_model(vocab=len(tokenizer))
    wire_stop_tokens(policy, tokenizer)
    rows = rows or random_rows(16, 2 if name not in ("sft", "kto") else 1)
    rows = with_mismatched(rows, 64)[0] if name == "kto" else rows
    stored = each_alone(store_reference(policy, together(rows), 10_000), rows) if reference else None
    return Start(b.recipe(name, data=b.SHORT), policy, tokenizer, rows, stored)


def learnt(chosen):
    return learn(chosen, Console(file=io.StringIO()))


@pytest.mark.parametrize("name", ["dpo", "ipo", "kto", "sft"])
def test_a_sound_setup_learns_its_rows(name):
    outcome = learnt(start(name, reference=name != "sft"))
    assert outcome.passed, outcome
    assert outcome.findings == []


def test_frozen_weights_are_named():
    broken = start()
    broken.policy.requires_grad_(False)
    assert learnt(broken).findings[0].name == "frozen-parameters"


def test_another_reference_is_named():
    broken = start()
    rows = broken.rows
    other = Start(
        broken.recipe, broken.policy, broken.tokenizer, rows, store_reference(tiny_model(seed=3), rows, 999)
    )
    outcome = learnt(other)
    assert not outcome.passed
    assert outcome.findings[0].name == "reference-not-policy"


def test_masked_rows_are_named():
    rows = b.change_completions(random_rows(16, 2), lambda ids, mask: (ids, mask & False))
    assert "nothing-moves" in [f.name for f in learnt(start(rows=rows)).findings]


def test_a_loss_that_prefers_the_rejected_answer_is_named(monkeypatch):
    dpo = methods.get("dpo")

    def loss(x, cfg):
        return dpo.loss(b.replace(x, policy_chosen=x.policy_rejected, policy_rejected=x.policy_chosen), cfg)

    turned = b.replace(dpo, loss=loss)
    monkeypatch.setattr(module.methods, "get", lambda name: turned)
    names = [f.name for f in learnt(start()).findings]
    assert names[0] == "gradient-direction" and "learns-backwards" in names


def test_broken_weights_are_named():
    """Broken after the reference was computed, which refuses such weights itself."""
    broken = start(policy=tiny_model(vocab=len(tiny_tokenizer())))
    with torch.no_grad():
        broken.policy.model.norm.weight[0] = math.nan
    assert learnt(broken).findings[0].name == "logps-not-finite"


def test_only_rows_that_can_be_learnt_are_taken():
    rows = random_rows(8, 2)
    same = b.replace(rows[0], completions=(rows[0].completions[0],) * 2)
    assert learnable([same, *rows[1:]], 3, 64) == rows[1:4]
    with pytest.raises(UserError, match="two different answers"):
        learnable([same], 3, 64)
