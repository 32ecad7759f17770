"""Each instruction by hand: answers that follow it, and answers that do not."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from boresight.tasks.ifeval import english
from boresight.tasks.ifeval.registry import INSTRUCTIONS

PUNKT_ENGLISH = "05d1b12e48957bd1e1d458276076802cde540d5f3c0785efbd5c522ad2703023"

FOLLOWED = {
    ("keywords:existence", '{"keywords": ["mom", "c++ (x"]}'): (
        ["Moments in C++ (X)"],
        ["mom alone", "c++ (x"],
    ),
    ("keywords:frequency", '{"keyword": "aa", "frequency": 2, "relation": "at least"}'): (
        ["AAaa", "aa baab"],
        ["aaa"],
    ),
    ("keywords:frequency", '{"keyword": "a.", "frequency": 1, "relation": "less than"}'): (
        ["ab ab"],
        ["a. b"],
    ),
    ("keywords:forbidden_words", '{"forbidden_words": ["can", "c++"]}'): (
        ["scan, cannot"],
        ["Can!", "in C++."],
    ),
    ("keywords:letter_frequency", '{"letter": "#", "let_frequency": 2, "let_relation": "at least"}'): (
        ["# x #"],
        ["#"],
    ),
    ("keywords:letter_frequency", '{"letter": "A", "let_frequency": 2, "let_relation": "less than"}'): (
        ["a"],
        ["Aa"],
    ),
    ("punctuation:no_comma", "{}"): (["none; here、"], ["one, here"]),
    ("length_constraints:number_words", '{"num_words": 3, "relation": "at least"}'): (
        ["don't go"],
        ["to go", "..."],
    ),
    ("length_constraints:number_words", '{"num_words": 3.0, "relation": "less than"}'): (
        ["a_b c"],
        ["a-b c"],
    ),
    ("length_constraints:number_paragraphs", '{"num_paragraphs": 2}'): (
        ["a\n***\nb", "***a***b***"],
        ["a\n\nb", "a***b***c", "a*** ***b"],
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        '{"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Elm"}',
    ): (
        ["a\n\nelm b", "a\n\n'ELM, b", "a\n\nElm's", "\n\nelm\n\nb"],
        ["a\n\nb elm", "a\nelm", "a\n\nelms", "elm", "a\n\nelm\n\nb", "a\n\n\n\nelm"],
    ),
    ("detectable_content:number_placeholders", '{"num_placeholders": 2}'): (
        ["[a] [b]", "[[a]\n[]"],
        ["[a\n] [b]", "[[a]]"],
    ),
    ("detectable_content:postscript", '{"postscript_marker": "P.P.S"}'): (
        ["a\nP. p. s b", "xp.p.s"],
        ["P.S.", "pps"],
    ),
    ("detectable_content:postscript", '{"postscript_marker": "P.S."}'): (
        ["p.s. b", "P. S. b"],
        ["P.S b", "P.  S."],
    ),
    ("detectable_content:postscript", '{"postscript_marker": "NB:"}'): (["nb: b"], ["nb b"]),
    ("detectable_format:number_bullet_lists", '{"num_bullets": 2}'): (
        ["* a\n * b", "- a\n---", "*\na\n* b"],
        ["* a", "** a\n** b", "a * b * c", "1. a\n2. b", "* a\n* b\n* c"],
    ),
    ("detectable_format:number_highlighted_sections", '{"num_highlights": 2}'): (
        ["*a* *b*", "**a**b*c*"],
        ["*a*", "*a\nb* *c*", "** ** * *", "**a**"],
    ),
    ("detectable_format:multiple_sections", '{"section_spliter": "S.", "num_sections": 2}'): (
        ["S. 1 a\nS.2", "xS. 1 S. 1"],
        ["S. 1", "s. 1 s. 2", "Sx 1 Sx 2", "S. one S. two"],
    ),
    ("detectable_format:title", "{}"): (
        ["a\n<<b>>", "<<<b>>>", ">> <<b>>"],
        ["<b>", "<<a\nb>>", "<<>>", "<< >>", ">>a<<"],
    ),
    ("detectable_format:json_format", "{}"): (
        ['{"a": 1}', "```json\n[1]\n```", "```\n1```", " null ", "1" * 5000],
        ["{'a': 1}", "Sure: {}", "```python\n{}```", '{"a": 1} Bye', "[" * 50],
    ),
    ("detectable_format:constrained_response", "{}"): (
        ["So My answer is no."],
        ["my answer is no.", "My answer is no"],
    ),
    ("combination:two_responses", "{}"): (
        ["a******b", "******a\n******\nb******"],
        ["a", "a******a", "a****** ******b", "a******b******c", "a*****b"],
    ),
    ("combination:repeat_prompt", '{"prompt_to_repeat": " Say hi. "}'): (
        [" say HI. Hi", "Say hi."],
        ["Say hi", '"Say hi."'],
    ),
    ("startend:end_checker", '{"end_phrase": "The end."}'): (
        ["a the END.", '"a the end."\n'],
        ["The end. b", "the end"],
    ),
    ("startend:quotation", "{}"): ([' "a" ', '""'], ['"', '"a', "“a”", "'a'"]),
}

WITH_PACKAGES = {
    ("length_constraints:number_sentences", '{"num_sentences": 2, "relation": "at least"}'): (
        ["One. Two", "Dr. Low sat. He ate.", "Wow!!!"],
        ["Dr. Low sat at 5 p.m. yesterday", "one\n\ntwo", "See Mr. Low"],
    ),
    ("change_case:capital_word_frequency", '{"capital_frequency": 2, "capital_relation": "at least"}'): (
        ["NASA and I", "DON'T", "NASA's U.S."],
        ["NASA alone", "Nasa and Usa", "AB-C", "1 2 3"],
    ),
    ("change_case:english_capital", "{}"): (
        ["THIS IS A SENTENCE IN ENGLISH, ALL 7 WORDS OF IT."],
        ["This is English", "123"],
    ),
    ("change_case:english_lowercase", "{}"): (
        ["this is a sentence in english and it is all small."],
        ["This is English", "dies ist ein satz auf deutsch, und er ist klein."],
    ),
    ("language:response_language", '{"language": "de"}'): (
        ["Dies ist ein Satz auf Deutsch, und er ist nicht lang."],
        ["This is a sentence in English."],
    ),
}


def is_followed(name, given, text):
    return INSTRUCTIONS[name].bind(json.loads(given))(text)


@pytest.mark.parametrize(("name", "given"), FOLLOWED)
def test_an_instruction_by_hand(name, given):
    right, wrong = FOLLOWED[name, given]
    assert {text: is_followed(name, given, text) for text in right} == dict.fromkeys(right, True)
    assert {text: is_followed(name, given, text) for text in wrong} == dict.fromkeys(wrong, False)


@pytest.mark.parametrize(("name", "given"), WITH_PACKAGES)
def test_an_instruction_that_needs_packages(name, given):
    for package in ("langdetect", "nltk", "punkt"):
        pytest.importorskip(package)
    right, wrong = WITH_PACKAGES[name, given]
    assert {text: is_followed(name, given, text) for text in right} == dict.fromkeys(right, True)
    assert {text: is_followed(name, given, text) for text in wrong} == dict.fromkeys(wrong, False)


def test_every_instruction_is_tried():
    assert {name for name, _ in [*FOLLOWED, *WITH_PACKAGES]} == set(INSTRUCTIONS)


def test_text_without_letters_has_no_language():
    pytest.importorskip("langdetect")
    check = INSTRUCTIONS["language:response_language"].bind({"language": "de"})
    assert check("123, 456!") is None


def test_a_language_is_detected_alike_every_time():
    """`langdetect.detect` calls these words Spanish in one half of the calls, Portuguese in the other."""
    pytest.importorskip("langdetect")
    check = INSTRUCTIONS["language:response_language"].bind({"language": "es"})
    assert len({check("radio hotel") for _ in range(40)}) == 1


def test_json_that_is_nested_too_deeply_has_no_verdict():
    assert INSTRUCTIONS["detectable_format:json_format"].bind({})("[" * 100_000 + "]" * 100_000) is None


def test_an_expression_beyond_its_time_limit_has_no_verdict(monkeypatch):
    class Slow:
        def tokenize(self, text):
            raise TimeoutError

    monkeypatch.setattr(english, "sentence_tokenizer", Slow)
    assert english.split_sentences("a") is None and english.split_words("a") is None


def test_the_sentence_model_is_nltk_s():
    """The hash is of NLTK's own files, `punkt_tab/english`, as NLTK reads them."""
    punkt = pytest.importorskip("punkt")
    model = punkt.load_model("english")
    numbers = [
        sorted(model.abbrev_types),
        sorted(map(list, model.collocations)),
        sorted(model.sent_starters),
        sorted(model.ortho_context.items()),
    ]
    assert sha256(json.dumps(numbers).encode()).hexdigest() == PUNKT_ENGLISH
