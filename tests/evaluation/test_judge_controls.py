"""Judges with known faults: each control finds the fault it is for, and a good judge passes all."""

import re

import pytest

from boresight.core.errors import UserError
from boresight.evaluation.judge_controls import (
    Trust,
    first_third,
    human_agreement,
    order_effects,
    planted_controls,
    read_labels,
    self_agreement,
)
from boresight.llm.replies.reply import Reply
from boresight.scorers.judges import llm
from boresight.scorers.judges.base import Judgment, Score, Scorer, Verdict
from boresight.stats.intervals import clustered_share
from tests.scorers.fakes import FakeEndpoint, LengthScorer, prompt

PROMPTS = [prompt(i) for i in range(30)]
ANSWERS = [
    f"the answer to question {i} is a long one of {'many ' * (i % 5)}words, and it ends here."
    for i in range(30)
]


class Good(Scorer):
    """Knows which number belongs to which prompt, and likes whole sentences."""

    name = "good"

    def score(self, prompts, answers, repeat=0):
        return [
            Score((f"{p.prompt[0]['content']} is" in text) + text.endswith("."))
            for p, text in zip(prompts, answers, strict=True)
        ]


def shares(judge):
    return {control.name: control.share.value for control in planted_controls(judge, PROMPTS, ANSWERS)}


def test_a_good_judge_passes_every_control():
    controls = planted_controls(Good(), PROMPTS, ANSWERS, most=20)
    assert {c.name: (c.share.value, c.share.n) for c in controls} == {
        "identical": (1.0, 20), "truncated": (1.0, 20), "wrong prompt": (1.0, 20),
    }  # fmt: skip
    assert controls[1].sentence == "prefers a whole answer to its first third in 20 of 20 planted cases"


def test_a_judge_of_length_is_caught_by_the_wrong_prompt():
    found = shares(LengthScorer())
    assert found["identical"] == found["truncated"] == 1.0
    assert found["wrong prompt"] < 0.8


def test_a_judge_that_likes_short_answers_is_caught_by_truncation():
    class Short(Scorer):
        name = "short"

        def score(self, prompts, answers, repeat=0):
            return [Score(-len(text)) for text in answers]

    assert shares(Short())["truncated"] == 0.0


def test_a_judge_that_likes_a_slot_is_caught_by_identical_answers_and_in_one_order_only():
    """Both orders make a tie of a slot's favourite, which is why they are the default."""
    found = {}
    for orders in (1, 2):
        config = llm.Config(endpoint="http://here/v1", model="m", orders=orders)
        found[orders] = shares(llm.build(config, FakeEndpoint(lambda r: Reply("VERDICT: 1"))))["identical"]
    assert found == {1: 0.0, 2: 1.0}


def test_failed_controls_are_missing_and_controls_without_answers_are_left_out():
    class Silent(Scorer):
        name = "silent"

        def score(self, prompts, answers, repeat=0):
            return [Score(None, failure="no") if "question 1" in text else Score(1.0) for text in answers]

    (identical, *_) = planted_controls(Silent(), PROMPTS[:5], ANSWERS[:5])
    assert (identical.share.n, identical.share.missing) == (4, 1)
    assert "1 failed" in identical.sentence
    assert planted_controls(Good(), PROMPTS[:2], [None, "  "]) == ()


def test_a_judge_that_changes_its_mind():
    class Fickle(Scorer):
        name = "fickle"

        def score(self, prompts, answers, repeat=0):
            return [Score(len(text) * (-1) ** repeat) for text in answers]

    a, b = ["xx"] * 30, ["x"] * 30
    assert self_agreement(LengthScorer(), PROMPTS, a, b, most=10).accuracy.value == 1.0
    assert self_agreement(Fickle(), PROMPTS, a, b).accuracy.value == 0.0
    assert self_agreement(Fickle(), PROMPTS, [None] * 30, b) is None


def test_flips_and_the_favoured_slot_by_hand():
    """Verdicts (a first, b first): a twice; slot 1 twice; slot 2 twice; a tie, then a; a failure.

    Flips: 2 of 4. Slot one is named by: 1 of 2, 2 of 2, 0 of 2, 0 of 1 (b first, a won), 1 of 1: 4 of 8.
    """
    pairs = [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.5, 1.0), (1.0, None)]
    judgments = [Judgment(None, verdicts=(Verdict("a", x), Verdict("b", y))) for x, y in pairs]
    found = order_effects(judgments, PROMPTS[:5])
    assert (found.flips.value, found.flips.n, found.flips.missing) == (0.5, 4, 1)
    assert (found.first_slot.value, found.first_slot.n, found.comparisons) == (0.5, 5, 4)
    assert order_effects([Judgment(1.0, scores=(1.0, 0.0))], PROMPTS[:1]) is None


def test_verdicts_on_one_prompt_are_one_unit_of_the_order():
    """Two prompts of two pairs each, whose winner changes once for the first and twice for the second."""
    pairs = [(1.0, 1.0), (1.0, 0.0), (1.0, 0.0), (1.0, 0.0)]
    judgments = [Judgment(None, verdicts=(Verdict("a", x), Verdict("b", y))) for x, y in pairs]
    found = order_effects(judgments, [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]])
    assert found.flips == clustered_share([[0, 1], [1, 1]]) and found.comparisons == 4
    assert found.first_slot == clustered_share([[1, 0, 1, 1], [1, 1, 1, 1]])
    flips, slot = Trust(order=found).sentences
    assert re.search(r"the answers in 75 % \[\d+, \d+\] of 4 comparisons on 2 prompts\.$", flips)
    assert re.match(r"The answer shown first gets 88 % \[\d+, \d+\] of its verdicts on 2 prompts\.$", slot)


def test_agreement_with_people(tmp_path):
    """The judge of length agrees on 3 of 4.

    Judge: a, b, a, tie. People: a, b, b, tie. Over both orders a and b are 3/8 each of either, ties 1/4:
    chance is 9/64 + 9/64 + 4/64 = 11/32, so kappa = (24/32 - 11/32) / (21/32) = 13/21.
    """
    file = tmp_path / "labels.csv"
    rows = ["q,xx,x,a", "r,x,xx,B", "s,xx,x,b", "t,x,x,tie"]
    file.write_text("prompt,answer_a,answer_b,preferred\n" + "\n".join(rows))
    found = human_agreement(LengthScorer(), file)
    assert found.accuracy.value == 0.75 and found.kappa == pytest.approx(13 / 21)
    assert Trust(people=found).sentences == [
        "It agrees with people in 75 % [19, 99] of 4, Cohen's kappa over both orders 0.62; "
        "it contradicts them in 1, and 0 are a tie to one side only."
    ]


def test_agreement_with_people_on_prompts_of_several_pairs(tmp_path):
    """On q the judge of length agrees on 1 of 2 pairs and on r on 2 of 2: prompts' means of 1/2 and 1."""
    file = tmp_path / "labels.csv"
    rows = ["q,xx,x,a", "q,xx,x,b", "r,xx,x,a", "r,x,xx,b"]
    file.write_text("prompt,answer_a,answer_b,preferred\n" + "\n".join(rows))
    found = human_agreement(LengthScorer(), file)
    assert found.accuracy == clustered_share([[1, 0], [1, 1]])
    (sentence,) = Trust(people=found).sentences
    assert re.match(r"It agrees with people in 75 % \[\d+, \d+\] of 4 comparisons on 2 prompts, ", sentence)


def test_repeated_prompts_are_one_unit_of_controls_and_of_repeated_requests():
    asked, answers = [*PROMPTS[:10], *PROMPTS[:10]], [*ANSWERS[:10], *(f"{a} Yes." for a in ANSWERS[:10])]
    found = self_agreement(LengthScorer(), asked, answers, ["x"] * 20)
    assert (found.accuracy.n, found.comparisons) == (10, 20)
    (identical, truncated, _) = planted_controls(LengthScorer(), asked, answers)
    assert (identical.share.n, identical.cases, truncated.cases) == (10, 20, 20)
    assert identical.sentence == "calls an answer and itself a tie in 20 of 20 planted cases"


def test_a_winner_that_changes_with_the_order_is_no_disagreement_with_people(tmp_path):
    """A judge that always names the first slot contradicts nobody: it has no opinion on either row."""
    file = tmp_path / "labels.csv"
    file.write_text("prompt,answer_a,answer_b,preferred\nq,xx,x,a\nq,x,xx,b\nq,xy,x,tie\n")
    config = llm.Config(endpoint="http://here/v1", model="m", orders=2)
    judge = llm.build(config, FakeEndpoint(lambda r: Reply("VERDICT: 1")))
    assert human_agreement(judge, file) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,answer_a,answer_b,preferred\nq,x,y,c\n", "row 1: `preferred` is 'c'; write a, b or tie"),
        ("prompt,answer_a,preferred\nq,x,a\n", "row 1: `answer_b` is missing"),
        ("prompt,answer_a,answer_b,preferred\nq,x,y,\n", "row 1: `preference` is missing; give one of"),
        ("prompt,answer_a,answer_b,preferred\n", "there is not one row"),
    ],
)
def test_bad_labels_are_named(tmp_path, text, message):
    file = tmp_path / "labels.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        read_labels(file)
    with pytest.raises(UserError, match="there is no file"):
        read_labels(tmp_path / "none.csv")


def test_labels_as_a_spreadsheet_or_another_program_saves_them(tmp_path):
    """A mark before the header, an empty answer, line breaks in cells; and JSON Lines."""
    table = tmp_path / "labels.csv"
    table.write_text(
        'prompt,answer_a,answer_b,preferred\r\n"q\nr",,"x, y",b\r\nq,z,,a\r\n', encoding="utf-8-sig"
    )
    lines = tmp_path / "labels.jsonl"
    lines.write_text(
        '{"prompt": "q\\nr", "answer_a": "", "answer_b": "x, y", "preferred": "B"}\n'
        '{"prompt": "q", "answer_a": "z", "answer_b": null, "preferred": "a"}\n'
    )
    for file in (table, lines):
        prompts, *rest = read_labels(file)
        assert prompts[0].prompt == [{"role": "user", "content": "q\nr"}]
        assert rest == [["", "z"], ["x, y", ""], [0.0, 1.0]]


def test_a_third_of_the_words():
    assert first_third("one two three four five six seven") == "one two"
    assert first_third("one") == "one"
