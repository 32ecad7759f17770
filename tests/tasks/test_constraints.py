"""Checks of answers, each on hand-made answers that pass and that fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.core.errors import UserError
from boresight.tasks.constraints.constraint import (
    CONSTRAINT_KINDS,
    Constraint,
    bullets,
    ends_as_sentence,
    has_enough_words,
    loops,
    mentions,
    mentions_task,
    quality,
    sentences,
    words,
)

EXAMPLES = [
    ("max_words", {"n": 3}, ["Tea is warm.", "  Tea\n"], ["Tea is very warm.", "", " ... "]),
    (
        "word_range",
        {"low": 2, "high": 3},
        ["Tea is.", " Tea is warm\n"],
        ["Tea.", "Tea is very warm.", "", ", , ,"],
    ),
    ("commas", {"n": 2}, ["Warm, wet, brown.", "a,b,c"], ["Warm, wet.", "a, b, c, d", "", ",,"]),
    (
        "sentences",
        {"n": 2},
        ["Tea is warm. Drink it!", "It has 3.5 grams.\nReally?"],
        ["Tea is warm.", "One. Two. Three.", "It ends. Without a stop", ""],
    ),
    ("one_sentence", {}, ['He said "stop."', "Is it warm?"], ["One. Two.", "no stop", ""]),
    (
        "bullets",
        {"n": 2},
        ["- warm\n- wet", "* warm\n\n* wet"],
        [
            "- warm",
            "Here you are:\n- warm\n- wet",
            "- warm\n- wet\n- brown",
            "1. warm\n2. wet",
            "-warm\n-wet",
            "- \n- ",
        ],
    ),
    ("avoids", {"word": "the"}, ["Tea is warm.", "Their theory."], ["The tea.", "Drink THE tea.", "", "..."]),
    ("includes", {"word": "because"}, ["Because it is."], ["It is.", "becauses", ""]),
    (
        "starts_with",
        {"phrase": "Did you know"},
        ["Did you know that?", "  Did you know"],
        ["did you know that?", "Well, did you know", "Did you knowing", '"Did you know"', ""],
    ),
    (
        "ends_with",
        {"phrase": "the end."},
        ["This is the end.", "the end.\n"],
        ["This is the end", "bathe end.", ""],
    ),
    ("lowercase", {}, ["tea is warm.", "ß"], ["Tea is warm.", "", "!"]),
    (
        "json_keys",
        {"keys": ["name", "use"]},
        ['{"name": "tea", "use": "drink"}', '{"use": ["drink"], "name": {"a": 1}}'],
        [
            '{"name": "tea"}',
            '{"name": "tea", "use": "drink", "x": 1}',
            '{"name": "", "use": "drink"}',
            '["name", "use"]',
            '```json\n{"name": "tea", "use": "drink"}\n```',
            "name: tea",
            "[" * 100_000,
            "",
        ],
    ),
]


@pytest.mark.parametrize(("kind", "params", "good", "bad"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_constraint_on_hand_made_answers(kind, params, good, bad):
    constraint = Constraint(kind, params)
    assert [text for text in good if not constraint.met(text)] == []
    assert [text for text in bad if constraint.met(text)] == []


def test_every_kind_has_examples_and_an_instruction_that_names_its_parameters():
    assert {kind for kind, *_ in EXAMPLES} == set(CONSTRAINT_KINDS)
    for kind, params, *_ in EXAMPLES:
        instruction = Constraint(kind, params).instruction()
        assert instruction.endswith(('"."', ".", '".'))
        for value in params.values():
            for part in value if isinstance(value, list) else [value]:
                assert str(part) in instruction


@given(st.sampled_from(EXAMPLES), st.text())
def test_no_text_makes_a_check_raise(example, text):
    kind, params, *_ = example
    assert Constraint(kind, params).met(text) in (True, False)
    quality(text, "green tea")


def test_meta_round_trip_and_errors():
    meta = {"constraint": {"kind": "max_words", "params": {"n": 15}}}
    assert Constraint.from_meta(meta) == Constraint("max_words", {"n": 15})
    with pytest.raises(UserError, match="did you mean 'max_words'"):
        Constraint("max_word", {"n": 15})
    with pytest.raises(UserError, match="takes the parameters n, but got m"):
        Constraint("max_words", {"m": 15})
    with pytest.raises(UserError, match=r"meta\.constraint: None is not a constraint"):
        Constraint.from_meta({})


def test_pieces_of_a_text():
    assert words("It's a well-known 3-in-1 “tea”, isn’t it?") == [
        "It's",
        "a",
        "well-known",
        "3-in-1",
        "tea",
        "isn’t",
        "it",
    ]
    assert sentences('He said "Go!" She went.\nThen 3.5 hours') == [
        'He said "Go!',
        "She went.",
        "Then 3.5 hours",
    ]
    assert bullets("- one\n * two\n-three\n• four") == ["one", "two", "four"]


@pytest.mark.parametrize(
    ("text", "topic", "named"),
    [
        ("A library lends books.", "libraries", True),
        ("Volcanoes erupt.", "volcanoes", True),
        ("A volcano erupts.", "volcanoes", True),
        ("The bus is late.", "buses", True),
        ("The moon's phases.", "the moon", True),
        ("The moonlight.", "the moon", False),
        ("He had been there.", "bees", False),
        ("A team of teachers.", "tea", False),
        ("Grass is green.", "grass", True),
    ],
)
def test_topic_is_named_by_singular_or_plural_and_by_nothing_else(text, topic, named):
    assert mentions(text, topic) is named


def test_quality_measures():
    assert (
        ends_as_sentence('He said "go."') and ends_as_sentence("(Really?)") and ends_as_sentence('{"a": 1}')
    )
    assert not ends_as_sentence("and then the") and not ends_as_sentence("")
    assert loops("a great way to go and a great way to see and a great way to be")
    assert loops("A versatile and versatile item.") and loops("A tree is a tree.")
    assert not loops("a great way to go and a great way to see")
    assert has_enough_words("one two three four five six seven eight") and not has_enough_words("Warm drink.")
    assert mentions_task("In one sentence: tea.") and mentions_task("I am an AI.")
    assert not mentions_task("Rain said a word or two.")
    # A fragment that meets every word limit is not good on the first three.
    assert quality("Warm drink", "tea") == {
        "on_topic": False,
        "complete": False,
        "enough_words": False,
        "no_loop": True,
        "no_task_talk": True,
    }
