"""Answers made to earn something for nothing, or to stop the program."""

from __future__ import annotations

import time
from itertools import product

import pytest

from boresight.tasks.ifeval import rewards
from boresight.tasks.ifeval.registry import INSTRUCTIONS
from tests.odd_text import ODD
from tests.tasks.ifeval.texts import ODD_ANSWERS

GIVEN = {
    "keywords": ["aa", "(a+)+$"], "keyword": "(a|aa)+$", "frequency": 3, "relation": "at least",
    "forbidden_words": ["(a+)+b"], "letter": "a", "let_frequency": 3, "let_relation": "at least",
    "language": "de", "num_words": 3, "num_sentences": 3, "num_paragraphs": 3, "nth_paragraph": 2,
    "first_word": "aa", "num_placeholders": 3, "postscript_marker": "(p+)+$", "num_bullets": 3,
    "num_highlights": 3, "section_spliter": "(S+)+$", "num_sections": 3, "prompt_to_repeat": "aa",
    "end_phrase": "aa", "capital_frequency": 3, "capital_relation": "at least",
}  # fmt: skip
"""Parameters with expressions that take exponential time where they are not taken literally."""
PACKAGES = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}
DETECTING = {"language:response_language", "change_case:english_capital", "change_case:english_lowercase"}
UNITS = ("a", " ", "\n", "\n ", "*", "*a", "\n*", "\n-", "[", "[a", "<<", "<<a", ">>", '"', "[1,", "a.", ". ",
         "! ", "p. ", "Section1", "(S", "***", "1", "字", "\u0300", "a@b.", "A ")  # fmt: skip
LONG, MOST, NOTICEABLE = 16_000, 9.0, 0.02
"""Characters; growth of the time from a quarter of them, where 4 is linear and 16 quadratic; seconds below
which noise decides."""


def bound(name):
    for package in ("nltk", "punkt") if name in PACKAGES else ("langdetect",) if name in DETECTING else ():
        pytest.importorskip(package)
    instruction = INSTRUCTIONS[name]
    return instruction.bind({parameter: GIVEN[parameter] for parameter in instruction.parameters})


def seconds(check, unit, length):
    start = time.process_time()
    check(unit * (length // len(unit)))
    return time.process_time() - start


def is_linear(check, unit, size):
    long = seconds(check, unit, size)
    return long < NOTICEABLE or long < MOST * seconds(check, unit, size // 4)


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_time_grows_with_the_length_of_the_answer(name):
    """Each unit has three tries, since others use the machine as well. NLTK is linear and slow."""
    check, size = bound(name), LONG // 4 if name in PACKAGES else LONG
    assert [unit for unit in UNITS if not any(is_linear(check, unit, size) for _ in range(3))] == []


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_odd_answers_have_a_verdict_or_none(name):
    check = bound(name)
    for text in (*ODD_ANSWERS, ODD, ODD * 100):
        assert check(text) in (True, False, None)


def row_of(name, **given):
    return {"instruction_id_list": [name], "kwargs": [given]}


BLANK = ("", " ", "\n\n\n", "\t\r\n", "\u00a0\u3000\u2028", "\x1c\x1d")
EASY = [
    row_of("punctuation:no_comma"),
    row_of("keywords:forbidden_words", forbidden_words=["a"]),
    row_of("length_constraints:number_words", num_words=5, relation="less than"),
    row_of("keywords:letter_frequency", letter="a", let_frequency=5, let_relation="less than"),
    row_of("detectable_format:number_highlighted_sections", num_highlights=0),
]


@pytest.mark.parametrize(("row", "answer"), [*product(EASY, BLANK)])
def test_a_blank_answer_follows_nothing(row, answer):
    for function in (rewards.all_strict, rewards.share_strict, rewards.all_loose, rewards.share_loose):
        assert function([None], [answer], [row]) == [0.0]


PROMPT = (
    "Write a title in double angular brackets, such as <<title>>, two placeholders such as [address] and "
    '[name], highlight *one* and *two*, end with "The end." and say SECTION 1 and SECTION 2.'
)


def test_the_prompt_repeated_follows_what_it_shows():
    """The checks of the paper do not see that an example is only repeated."""
    shown = [
        row_of("detectable_format:title"),
        row_of("detectable_content:number_placeholders", num_placeholders=2),
        row_of("detectable_format:number_highlighted_sections", num_highlights=2),
        row_of("detectable_format:multiple_sections", section_spliter="SECTION", num_sections=2),
    ]
    hidden = [
        row_of("startend:end_checker", end_phrase="The end."),
        row_of("detectable_format:number_bullet_lists", num_bullets=2),
        row_of("detectable_format:json_format"),
        row_of("startend:quotation"),
        row_of("punctuation:no_comma"),
        row_of("combination:two_responses"),
    ]
    assert [rewards.all_strict([PROMPT], [PROMPT], [row]) for row in shown] == [[1.0]] * 4
    assert [rewards.all_strict([PROMPT], [PROMPT], [row]) for row in hidden] == [[0.0]] * 6


def test_the_prompt_is_not_looked_at():
    row = row_of("detectable_format:title")
    assert rewards.all_strict(["<<title>>", ""], ["nothing", "nothing"], [row, row]) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "given", "answer", "followed"),
    [
        ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "***a*** ***b***", True),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "**** ****", False),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "* * * *", False),
        ("detectable_format:title", {}, "<<<<>>>>", False),
        ("detectable_format:title", {}, "<<a<<b>>c>>", True),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[[[[a]", False),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[]][]", True),
        ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "> * a", False),
        ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "\u2022 a", False),
        ("combination:two_responses", {}, "************", False),
        ("startend:quotation", {}, '"', False),
        ("detectable_format:json_format", {}, "``````", False),
    ],
)
def test_nested_and_empty_markup(name, given, answer, followed):
    assert rewards.all_strict([None], [answer], [row_of(name, **given)]) == [float(followed)]
