"""Rewards of plain text: what is right, and what tries to look right."""

from __future__ import annotations

import pytest

from boresight.core.errors import UserError
from boresight.tasks.constraints.rewards import meets_constraint, whole_answer
from boresight.tasks.text.form import has_form
from boresight.tasks.text.gold import gold_texts
from boresight.tasks.text.length import length_score
from boresight.tasks.text.matching import contains_answer, exact_match, exact_reading

PARIS = {"answer": "Paris"}


def one(reward, completion, row=PARIS, **options):
    return reward([""], [completion], [row], **options)[0]


# exact ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "row", "options"),
    [
        ("Paris", PARIS, {}),
        (" \n Paris\t", PARIS, {}),
        ("<think>Lyon?</think>\n\nParis", PARIS, {}),
        ("New\n York", {"answer": "New York"}, {}),
        ("18", {"answer": 18}, {}),
        ("18", {"answer": "She sells 9 * 2 = 18.\n#### 18"}, {}),
        ("paris.", PARIS, {"ignore_case": True, "ignore_punctuation": True}),
        ("I say <answer> Paris </answer> .", PARIS, {"tag": "answer"}),
        ("<answer>Lyon</answer> no, <answer>Paris</answer>", PARIS, {"tag": "answer"}),
        ("NYC", {"answer": ["New York", "NYC"]}, {}),
        ("cafe\u0301", {"answer": "café"}, {}),  # the same letters, composed and not
        ("b", {"gold": "b"}, {"column": "gold"}),
    ],
)
def test_an_equal_answer_is_exact(completion, row, options):
    assert one(exact_match, completion, row, **options) == 1.0


@pytest.mark.parametrize(
    ("completion", "options"),
    [
        ("", {}),
        ("paris", {}),
        ("Paris.", {}),
        ("Paris Lyon Rome", {}),
        ("Lyon\nParis", {}),
        ("The answer is Paris", {}),
        ("<think>Paris</think>", {}),
        ("<think>Paris", {}),
        ("Paris</think>", {}),
        ("Paris</think> Lyon", {}),
        ("Pаris", {}),  # a Cyrillic а
        ("Pa\u200bris", {}),  # a space of no width
        ("Paris", {"tag": "answer"}),
        ("<answer>Paris", {"tag": "answer"}),
        ("<answer>Paris</answer><answer>", {"tag": "answer"}),
        ("<think><answer>Paris</answer></think>", {"tag": "answer"}),
        ("<answer>Paris</answer> <answer>Lyon</answer>", {"tag": "answer"}),
        ("<ANSWER>Paris</ANSWER>", {"tag": "answer"}),
        ("Paris " * 100_000, {}),
    ],
)
def test_what_is_not_the_answer_alone_is_not_exact(completion, options):
    assert one(exact_match, completion, **options) == 0.0


def test_a_gold_answer_of_punctuation_is_missing_where_that_is_ignored():
    assert one(exact_match, "", {"answer": "?!"}, ignore_punctuation=True) is None


def test_a_tag_in_a_thought_is_no_answer_before_the_last():
    """One answer after the thought; of two answers the last decides."""
    said = "<think><answer>1</answer></think><answer>2</answer>"
    alone = exact_reading(said, {"answer": "2"}, tag="answer")
    assert (alone.answer, alone.decided_by) == ("2", ())
    two = exact_reading("<answer>1</answer><answer>2</answer>", {"answer": "2"}, tag="answer")
    assert two.decided_by == ("the last of several <answer> counts",)


@pytest.mark.parametrize("value", ["", "  ", None, {}, [], ["a", ""], True, "solution without a number ####"])
@pytest.mark.parametrize("reward", [exact_match, contains_answer])
def test_a_row_without_a_gold_answer_is_an_error(reward, value):
    with pytest.raises(UserError, match=r"the gold answer in the column 'answer' is"):
        one(reward, "Paris", {"answer": value})
    with pytest.raises(UserError, match=r"'gold' is missing \(columns: answer\); add it, or name another"):
        one(reward, "Paris", {"answer": "x"}, column="gold")


# contains -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("It is Paris.", "Paris"),
        ("It is PARIS, of course", "paris"),
        ("“Paris”", "Paris"),
        ("There are 18 of them.", 18),
        ("It costs $18.", "18"),
        ("x=18, y=2", "18"),
        ("new\nyork", "New York"),
        ("C++ it is", "C++"),
        ("about (a.b)", "(a.b)"),
    ],
)
def test_a_whole_word_is_contained(completion, gold):
    assert one(contains_answer, completion, {"answer": gold}) == 1.0


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("", "Paris"),
        ("comparison", "Paris"),
        ("Parisian", "Paris"),
        ("118 and 180", "18"),
        ("1,18 and 18,000 and 18.5 and 0.18", "18"),
        ("-18 and −18 and 3/18 and 18/5", "18"),
        ("aXb", "a.b"),
        (".*", "Paris"),
        ("<think>Paris</think> Lyon", "Paris"),
        ("１８", "18"),
    ],
)
def test_part_of_a_word_or_number_is_not_contained(completion, gold):
    assert one(contains_answer, completion, {"answer": gold}) == 0.0


def test_a_list_of_guesses_is_cut_off_by_its_length():
    guesses = "Rome Oslo Lima Bonn Paris"
    assert one(contains_answer, guesses) == 1.0
    assert one(contains_answer, guesses, max_words=4) == 0.0
    assert one(contains_answer, "It is Paris .", max_words=4) == 1.0
    assert one(contains_answer, "Paris <answer>Rome</answer>", tag="answer") == 0.0


# format ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "options"),
    [
        ("<think>a</think><answer>b</answer>", {}),
        (" <think>\na < b\n</think>\n\n<answer> b </answer>\n", {}),
        ("<a>x</a>", {"tags": ("a",)}),
        ("a</think><answer>b</answer>", {"prefilled": True}),
        ("So: <think>a</think> hence <answer>b</answer>.", {"alone": False}),
    ],
)
def test_the_form_earns(completion, options):
    assert one(has_form, completion, **options) == 1.0


@pytest.mark.parametrize(
    ("completion", "options"),
    [
        ("", {}),
        ("b", {}),
        ("<think></think><answer>b</answer>", {}),
        ("<think>a</think><answer> \n </answer>", {}),
        ("<think>a</think><answer>b", {}),
        ("<think>a<answer>b</answer>", {}),
        ("<answer>b</answer><think>a</think>", {}),
        ("<think>a<answer>b</answer></think>", {}),
        ("<think>a<answer></think>b</answer>", {}),
        ("</think>a<think><answer>b</answer>", {}),
        ("<think>a</think><think>a</think><answer>b</answer>", {}),
        ("<think>a</think><answer>b</answer><answer>c</answer>", {}),
        ("<think>a</think><answer>b</answer>", {"prefilled": True}),
        ("So: <think>a</think><answer>b</answer>", {}),
        ("<think>a</think><answer>b</answer> and more", {}),
        ("<Think>a</Think><Answer>b</Answer>", {}),
        ("< think >a</think><answer>b</answer>", {}),
        ("&lt;think>a</think><answer>b</answer>", {}),
        ("<think>" * 100_000 + "a" + "</think>" * 100_000 + "<answer>b</answer>", {}),
    ],
)
def test_what_only_looks_like_the_form_earns_nothing(completion, options):
    assert one(has_form, completion, **options) == 0.0


@pytest.mark.parametrize("tags", [("a", "a"), ("<a>",), ("",), ("a b",)])
def test_tags_that_no_completion_can_have_are_refused(tags):
    with pytest.raises(UserError, match=r"options\.tags has"):
        one(has_form, "", tags=tags)


# length ---------------------------------------------------------------------------------------------------

EIGHT = "one two three four five six seven eight"


@pytest.mark.parametrize(
    ("completion", "options", "reward"),
    [
        (EIGHT, {}, 1.0),
        ("one two three four five six", {}, 6 / 8),
        ("one two three four", {}, 4 / 8 - 1),  # half as many as wanted are very short
        ("one two three four", {"very_short": 0.25}, 4 / 8 - 0.25),
        ("", {}, -1.0),
        ("", {"fewest": 0}, 1.0),
        (EIGHT + " nine ten", {"most": 8}, 2 - 10 / 8),
        (" ".join(f"word{n}" for n in range(16)), {"most": 8}, 0.0),
        (" ".join(f"word{n}" for n in range(99)), {"most": 8}, 0.0),
        ("tea is warm " * 3, {}, 1 - 4 / 7),  # of seven runs of three words, three differ
        ("tea is warm " * 3, {"repetition": 0.0}, 1.0),
        ("Tea, is warm. TEA IS WARM! tea is warm", {}, 1 - 4 / 7),
        ("茶很暖和我们都喜欢", {"unit": "characters"}, 1.0),
    ],
)
def test_the_length_reward(completion, options, reward):
    assert one(length_score, completion, **options) == pytest.approx(reward)


@pytest.mark.parametrize(
    "completion",
    [
        "tea " * 1000,
        "tea is warm. " * 300,
        "3" * 400,
        EIGHT + " " + "!" * 20,
        "word " * 250_000,
        "... --- !!! ??? ... --- !!! ??? *** +++",
        f"<think>{EIGHT}</think>",
        f"<think>{EIGHT}",
        "\u200b \u200b \u200b \u200b \u200b \u200b \u200b \u200b \u200b",
    ],
)
def test_fillers_earn_next_to_nothing(completion):
    assert one(length_score, completion) < 0.05


def test_limits_that_exclude_everything_are_refused():
    with pytest.raises(UserError, match=r"options\.most is 3, less than options.fewest, 8"):
        one(length_score, "", most=3)


# constraints ----------------------------------------------------------------------------------------------

TEA = {"topic": "tea", "constraint": {"kind": "max_words", "params": {"n": 12}}}
GOOD = "Tea is a warm drink that people enjoy everywhere."


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "Tea.",
        "tea " * 10,
        "Tea-is-a-warm-drink-that-people-enjoy-everywhere.",
        "Coffee is a warm drink that people enjoy everywhere.",
        "Tea is a warm drink that people enjoy everywhere",
        "Tea is tea is tea is tea is tea.",
        "I describe tea in at most 12 words, as one sentence.",
        "Tea is a warm drink that people enjoy everywhere, every day, every year, everywhere at all.",
    ],
)
def test_a_constraint_that_is_met_badly_earns_nothing(completion):
    assert one(meets_constraint, completion, TEA) == 0.0
    assert one(meets_constraint, GOOD, TEA) == 1.0


@pytest.mark.parametrize(
    ("completion", "paid"),
    [
        (
            "Tea is a warm drink made of dried leaves, which people all over the world enjoy with friends.",
            1.0,
        ),
        ("Tea.", 0.0),
        ("tea " * 10, 0.0),
        ("Coffee is a warm drink that people enjoy everywhere.", 0.0),
        ("I describe tea in at most 12 words, as one sentence.", 0.0),
        ("", 0.0),
    ],
)
def test_a_whole_answer_need_not_meet_its_constraint(completion, paid):
    assert one(whole_answer, completion, TEA) == paid
    with pytest.raises(UserError, match="topic is None"):
        one(whole_answer, completion, {})


def test_other_checks_can_be_paid():
    assert one(meets_constraint, "Tea.", TEA, check="constraint_met") == 1.0
    with pytest.raises(UserError, match="did you mean 'good_answer'"):
        one(meets_constraint, "", TEA, check="good_answr")


@pytest.mark.parametrize(
    "row", [{}, {"topic": "tea"}, {**TEA, "topic": "?"}, {**TEA, "constraint": {"kind": "x"}}]
)
def test_a_row_without_topic_or_constraint_is_an_error(row):
    with pytest.raises(UserError, match=r"topic|constraint"):
        one(meets_constraint, GOOD, row)


# all ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reward", [exact_match, contains_answer, has_form, length_score, meets_constraint, whole_answer]
)
@pytest.mark.parametrize("text", ["a", "<think>", "</think>", "<answer>", " ", "1,", "\n", "((", "\\boxed{"])
def test_a_long_text_needs_no_more_than_its_length(reward, text):
    """A quadratic search would not come back."""
    assert one(reward, text * (300_000 // len(text)), {**TEA, **PARIS}) <= 1.0


def test_a_gold_answer_inside_of_another_column():
    """verl's files have it in `reward_model`; a column of that very name comes first."""
    row = {"reward_model": {"ground_truth": "34", "style": "rule"}}
    assert gold_texts(row, "reward_model.ground_truth", "math") == ["34"]
    assert gold_texts({**row, "reward_model.ground_truth": "5"}, "reward_model.ground_truth", "math") == ["5"]
    with pytest.raises(
        UserError, match=r"\(columns: reward_model, reward_model\.ground_truth, reward_model\.style"
    ):
        gold_texts(row, "answer", "math")
