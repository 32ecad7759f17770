"""Checks of answers side by side, and the likelihood that stands beside them."""

from __future__ import annotations

import math

import pytest

from boresight.core.schema import Message
from boresight.tasks.constraints.constraint import CONSTRAINT_KINDS
from boresight.tasks.constraints.evaluation import (
    LABELS,
    check_answer,
    check_answers,
    checkable,
    compare_constraints,
)
from boresight.training.probes.likelihood import logps_per_token
from tests.tiny import tiny_model, tiny_tokenizer

META = {"topic": "tea", "constraint": {"kind": "max_words", "params": {"n": 12}}}
GOOD = "Tea is a warm drink that many people enjoy."
LONG = "Tea is a warm drink that many people all over the world enjoy every single day."
FRAGMENT = "Warm."


def test_a_fragment_meets_the_constraint_and_is_not_a_good_answer():
    assert checkable(META) and not checkable({"topic": "tea"}) and not checkable({})
    fragment, good = check_answer(META, FRAGMENT), check_answer(META, GOOD)
    assert list(good) == list(LABELS)
    assert all(good.values())
    assert fragment["constraint_met"] and fragment["complete"]
    assert not fragment["enough_words"] and not fragment["on_topic"] and not fragment["good_answer"]
    assert not check_answer(META, LONG)["good_answer"]
    assert [checks["words"] for checks in check_answers([META] * 2, [GOOD, FRAGMENT])] == [9, 1]


@pytest.mark.parametrize(
    "meta",
    [
        {"topic": "tea", "constraint": "at most 12 words"},
        {"topic": "tea", "constraint": None},
        {"topic": "tea", "constraint": {"kind": "min_words", "params": {"n": 12}}},
        {"topic": "tea", "constraint": {"kind": ["max_words"], "params": {"n": 12}}},
        {"topic": "tea", "constraint": {"kind": "max_words", "params": {"words": 12}}},
        {"topic": "tea", "constraint": {"kind": "max_words", "params": {"n": "twelve"}}},
        {"topic": "tea", "constraint": {"kind": "includes", "params": {"word": 5}}},
        {"topic": "tea", "constraint": {"kind": "json_keys", "params": {"keys": 5}}},
        META | {"topic": "?!"},
        META | {"topic": None},
        META | {"topic": 5},
    ],
)
def test_columns_of_another_meaning_make_an_ordinary_prompt(meta):
    assert not checkable(meta)


def test_every_kind_of_constraint_is_checkable():
    values = {"n": 3, "low": 1, "high": 9, "word": "it", "phrase": "It", "keys": ["it"]}
    for name, kind in CONSTRAINT_KINDS.items():
        constraint = {"kind": name, "params": {param: values[param] for param in kind.params}}
        assert checkable({"topic": "tea", "constraint": constraint}), name


def test_shares_before_and_after_are_paired_by_prompt():
    """Before: good, long, long. After: good, good, fragment. Met goes 1/3 -> 3/3, good 1/3 -> 2/3."""
    measured = {
        m.name: m
        for m in compare_constraints(["a", "b", "c"], [META] * 3, [GOOD, LONG, LONG], [GOOD, GOOD, FRAGMENT])
    }
    met, good = measured["constraint_met"], measured["good_answer"]
    assert (met.before.value, met.after.value) == pytest.approx((1 / 3, 1))
    assert (good.before.value, good.after.value, good.difference.value) == pytest.approx(
        (1 / 3, 2 / 3, 1 / 3)
    )
    # Exact for 1 of 3: P(k >= 1) = 1 - (1-p)³ = .025 at the lower limit, P(k <= 1) = .025 at the upper one.
    assert (good.before.low, good.before.high) == pytest.approx((1 - 0.975 ** (1 / 3), 0.9057), abs=1e-4)
    assert met.difference.n == 3


def test_likelihood_of_answers_is_that_of_the_plain_forward_and_empty_ones_are_missing():
    import torch

    tokenizer = tiny_tokenizer("chatml")
    model = tiny_model("llama", vocab=len(tokenizer)).eval()
    prompt: list[Message] = [{"role": "user", "content": "Describe tea."}]
    found = logps_per_token(model, tokenizer, [prompt] * 3, ["Warm.", " ", "A warm drink."], 64)
    assert found[1] is None
    for answer, logp in ((a, found[i]) for i, a in ((0, "Warm."), (2, "A warm drink."))):
        before = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(
            before + answer + "<|im_end|>", add_special_tokens=False, return_tensors="pt"
        ).input_ids
        start = len(tokenizer(before, add_special_tokens=False).input_ids)
        with torch.no_grad():
            logps = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[start - 1 :]
        assert math.isclose(logp, logps.mean().item(), abs_tol=1e-4)


def test_a_generated_answer_of_any_form_has_a_likelihood_or_is_missing():
    """Blank lines, special tokens as text, thoughts cut short: nothing sampled ends an evaluation."""
    tokenizer = tiny_tokenizer("chatml")
    tokenizer.chat_template = (tokenizer.chat_template or "").replace(
        "assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"
    )
    model = tiny_model("llama", vocab=len(tokenizer), max_position_embeddings=128).eval()
    prompt: list[Message] = [{"role": "user", "content": "Describe tea."}]
    answers = ["\n\nWarm.", "\nWarm.", "<|im_end|>", "</think>\n\nWarm.", "\ufffd", "", "\n \n", "so " * 200]
    found = logps_per_token(model, tokenizer, [prompt] * len(answers), answers, 512)
    assert [value is None for value in found] == [False] * 5 + [True] * 3
    assert all(value < 0 and math.isfinite(value) for value in found if value is not None)
