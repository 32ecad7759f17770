"""What the numbers of a method are measured in."""

from __future__ import annotations

import pytest

from boresight import methods

UNITS = {
    ("dpo",): ("nats", "nats", False),
    ("dpo", "loss_type", "hinge"): ("", "nats", False),
    ("dpo", "length_normalised", True): ("nats", "nats", True),
    ("grpo",): ("", "nats", False),
    ("grpo", "standardize", False): ("reward", "nats", False),
    ("ipo",): ("nats²", "nats", False),
    ("ipo", "reduction", "mean"): ("(nats per token)²", "nats", True),
    ("kto",): ("", "nats", False),
    ("orpo",): ("nats", "nats per token", True),
    ("online_dpo",): ("nats", "nats", False),
    ("reward",): ("nats", "log-odds", False),
    ("rloo",): ("reward · nats", "nats", False),
    ("sft",): ("nats per token", "nats", False),
    ("simpo",): ("nats", "nats per token", True),
    ("xpo",): ("nats", "nats", False),
    ("xpo_offline",): ("nats", "nats", False),
}
"""Method and a setting, to the units of loss and margin, and whether answers are compared per token."""


@pytest.mark.parametrize("case", UNITS, ids=lambda case: "-".join(map(str, case)))
def test_units(case):
    name, *setting = case
    cfg = methods.get(name).Config(**dict([setting] if setting else []))
    assert (cfg.loss_unit, cfg.margin_unit, cfg.per_token) == UNITS[case]


def test_every_method_has_units():
    assert {name for name, *_ in UNITS} == set(methods.names())


def test_the_default_tau_asks_for_five_nats():
    assert methods.get("ipo").Config().target_margin == 5.0
