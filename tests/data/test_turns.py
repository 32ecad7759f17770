"""Messages: reading, and splitting where a message ends rather than where a character differs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boresight.data.reading.turns import (
    BadField,
    after_prompt,
    check_completion,
    check_prompt,
    check_text,
    split_pair,
    to_messages,
)


def u(content: str) -> dict:
    return {"role": "user", "content": content}


def a(content: str) -> dict:
    return {"role": "assistant", "content": content}


def s(content: str) -> dict:
    return {"role": "system", "content": content}


def test_common_opening_of_answers_stays_in_the_answers():
    """Both answers begin "It is ": by characters the prompt would end inside the answer."""
    prompt, chosen, rejected = split_pair(
        [u("Is it warm?"), a("It is warm.")], [u("Is it warm?"), a("It is not.")]
    )
    assert prompt == [u("Is it warm?")]
    assert (chosen, rejected) == ([a("It is warm.")], [a("It is not.")])


def test_identical_conversations_keep_their_last_answer():
    turns = [u("1"), a("2"), u("3"), a("4")]
    assert split_pair(turns, list(turns)) == (turns[:3], turns[3:], turns[3:])


def test_one_answer_that_goes_on_longer():
    """[u a] and [u a u b] share [u] alone: each side must keep at least one message."""
    prompt, chosen, rejected = split_pair([u("q"), a("x")], [u("q"), a("x"), u("more"), a("y")])
    assert (prompt, chosen, rejected) == ([u("q")], [a("x")], [a("x"), u("more"), a("y")])


@pytest.mark.parametrize(
    ("chosen", "rejected", "turn"),
    [
        ([u("q"), a("x")], [u("other q"), a("y")], 1),
        ([s("be kind"), u("q"), a("x")], [u("q"), a("y")], 1),
        ([u("q"), a("x"), u("and?"), a("1")], [u("q"), a("x"), u("so?"), a("1")], 3),
    ],
)
def test_differing_prompts_are_refused_with_the_turn(chosen, rejected, turn):
    with pytest.raises(BadField, match=f"another prompt than `chosen`, from turn {turn} on"):
        split_pair(chosen, rejected)


contents = st.text(min_size=1, max_size=8)


@given(
    st.lists(contents, min_size=1, max_size=3),
    st.lists(contents, max_size=2),
    contents,
    contents,
)
def test_split_gives_back_prompt_and_answers(questions, answers, chosen, rejected):
    """Any prompt of alternating turns and any two last answers, equal or not, come back unchanged."""
    prompt = [u(questions[0])]
    for question, answer in zip(questions[1:], answers, strict=False):
        prompt += [a(answer), u(question)]
    parts = split_pair([*prompt, a(chosen)], [*prompt, a(rejected)])
    assert parts == (prompt, [a(chosen)], [a(rejected)])


def test_sharegpt_names_and_text_parts_become_messages():
    turns = [
        {"from": "system", "value": "S"},
        {"from": "human", "value": "Q"},
        {"role": "assistant", "content": [{"type": "text", "value": "A"}, {"type": "text", "text": "B"}]},
    ]
    assert to_messages(turns, "x") == [s("S"), u("Q"), a("AB")]


def test_a_table_with_both_spellings_of_the_keys_leaves_one_null():
    turn = {"role": None, "content": None, "from": "human", "value": "q"}
    assert to_messages([turn, {"role": "assistant", "content": "a", "from": None}], "m") == [u("q"), a("a")]


def test_empty_system_message_stays():
    assert to_messages([s(""), u("Q")], "x")[0] == s("")


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        (None, "is missing"),
        ("text", "is str, not a list of messages"),
        ([], "is empty"),
        (["text"], "turn 1 is str, not a message"),
        ([u("q"), {"role": "narrator", "content": "42"}], "turn 2 has the role 'narrator'"),
        ([u("q"), {"role": ["user"], "content": "42"}], "turn 2 has the role"),
        ([u("q"), a("  \n")], r"turn 2 \(assistant\) is empty"),
        ([u("q"), {"role": "assistant", "content": None}], r"turn 2 \(assistant\) is missing"),
        (
            [{"role": "user", "content": [{"type": "image", "url": "x"}]}],
            "turn 1 has a part that is not text",
        ),
        ([u("\ud83d")], "half of a surrogate pair"),
    ],
)
def test_what_is_not_a_conversation_is_refused(turns, message):
    with pytest.raises(BadField, match=message) as error:
        to_messages(turns, "column")
    assert error.value.field == "column"


def test_repeated_prompt_is_taken_off_an_answer_only_when_messages_are_equal():
    assert after_prompt([u("q")], [u("q"), a("x")]) == [a("x")]
    assert after_prompt([u("q")], [a("q"), a("x")]) == [a("q"), a("x")]
    assert after_prompt([u("q")], [u("q")]) == [u("q")]


def test_prompt_must_end_with_the_user():
    check_prompt([s("S"), u("Q")], "prompt")
    for wrong in ([], [u("Q"), a("A")], [s("S")]):
        with pytest.raises(BadField):
            check_prompt(wrong, "prompt")


def test_completion_must_begin_and_end_with_the_assistant():
    check_completion([a("1"), u("2"), a("3")], "chosen")
    with pytest.raises(BadField, match="ends with a turn of the user"):
        check_completion([a("1"), u("2")], "chosen")
    with pytest.raises(BadField, match="begins with a turn of the user"):
        check_completion([u("1"), a("2")], "chosen")


def test_text_is_taken_letter_by_letter():
    assert check_text(" x\n", "f") == " x\n"
    with pytest.raises(BadField, match="`f` is int, not text"):
        check_text(3, "f")
