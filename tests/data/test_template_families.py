"""Rows under the chat templates of 32 families, against a reading of their own."""

from __future__ import annotations

import pytest

from tests.data.template_families import FAMILIES, Family
from tests.data.template_masks import CASES, check_conversation, make_tokenizer, turn_of


def tokenizer_of(family: Family):
    return make_tokenizer(family.template, [*family.specials], family.bos, family.eos)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_scored(name, case):
    family = FAMILIES[name]
    refusal = check_conversation(tokenizer_of(family), CASES[case], family.end)
    expected = family.refused.get(case, family.refused.get("*", ""))
    assert bool(refusal) == bool(expected) and expected in refusal, refusal


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name].single[0]])
def test_the_reference_by_hand(name):
    """The reference itself: what it expects of a question and its answer."""
    family = FAMILIES[name]
    assert turn_of(tokenizer_of(family), CASES["single turn"], family.end) == family.single


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name].end])
def test_conversations_that_are_several_rows(name):
    """Those of the families known for it, and no others."""
    family, tokenizer = FAMILIES[name], tokenizer_of(FAMILIES[name])
    found = {
        case
        for case, turns in CASES.items()
        if not family.refused.get(case) and is_split(family, tokenizer, turns)
    }
    assert found == family.split - family.refused.keys()


def is_split(family: Family, tokenizer, turns) -> bool:
    places = [n for n, message in enumerate(turns) if message["role"] == "assistant"]
    *earlier, last = ("".join(turn_of(tokenizer, turns[: n + 1], family.end)) for n in places)
    return not all(last.startswith(text) for text in earlier)
