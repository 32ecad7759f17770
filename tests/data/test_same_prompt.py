"""Prompts that ask the same are one prompt to every split: Countdown by its problem, others by their text."""

from __future__ import annotations

from itertools import permutations

import pytest

from boresight.core.schema import Demonstration, Prompt
from boresight.data.reading.load import read
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.reading.split import half, hold_out
from boresight.tasks.countdown import countdown_prompt, problem


def u(content):
    return {"role": "user", "content": content}


def a(content):
    return {"role": "assistant", "content": content}


PUBLIC = "Using the numbers [{numbers}], create an equation that equals {target}. Show your work."


def in_words(numbers, target):
    return PUBLIC.format(numbers=", ".join(map(str, numbers)), target=target)


def test_a_countdown_problem_is_the_same_in_any_order_words_and_layout(jsonl):
    made = [
        countdown_prompt(problem(order, 7), s) for order in permutations([3, 4, 5]) for s in ("chat", "tiny")
    ]
    rows = [
        {"nums": [5, 4, 3], "target": 7},
        {"query": in_words([4, 3, 5], 7), "completion": "<answer> 3 + 4 </answer>"},
        {"numbers": [5, 3, 4], "target": 7, "prompt": "Use 3, 4 and 5 to make 7."},
        {"prompt": in_words([3, 5, 4], 7), "chosen": "yes", "rejected": "no"},
    ]
    read_in = [example for row in rows for example in read(jsonl(row)).examples]
    assert {prompt_key(example) for example in made + read_in} == {"countdown [3, 4, 5] 7"}


@pytest.mark.parametrize(
    "other",
    [
        Prompt([u(in_words([3, 4, 5], 8))], "1"),
        Prompt([u(in_words([3, 4], 7))], "1"),
        Prompt([u("Sort these."), a("How?"), u(in_words([3, 4, 5], 7))], "1"),
        Prompt([u("Which city is this?")], "1", {"numbers": [3, 4, 5], "target": 7}),
        Prompt([u("Use 3, 4 and 5.")], "1", {"numbers": [3, 4, 5], "target": [7]}),
    ],
)
def test_what_is_another_problem_or_none(other):
    assert prompt_key(other) != "countdown [3, 4, 5] 7"


def test_other_prompts_are_their_text_which_no_run_may_see_changed():
    """Splits of every run that there is were drawn with these keys."""
    example = Demonstration([{"role": "system", "content": "s"}, u("q"), a("x")], "1", {"target": 3})
    assert prompt_key(example) == "[('system', 's'), ('user', 'q')]"


def test_no_order_of_a_problem_leaks_into_the_other_side():
    problems = [(3, 4, n) for n in range(5, 65)]
    asked = [countdown_prompt(problem(order, 40)) for p in problems for order in (p, p[::-1])]
    train, held = hold_out(asked, 24, seed=0)
    assert len(held) == 24 and not set(map(prompt_key, train)) & set(map(prompt_key, held))
    sides = [set(map(prompt_key, half(asked, side))) for side in ("selection", "confirmation")]
    assert not sides[0] & sides[1] and min(map(len, sides)) > 15


@pytest.mark.slow
@pytest.mark.real_data
def test_no_problem_of_a_public_copy_leaks(public_data):
    """Of 500 rows at random, a dozen have a twin with its numbers in another order; in other copies, 97."""
    examples = read(public_data / "countdown_posttrain/raw_train.parquet").examples
    train, held = hold_out(examples, 500, seed=0)
    assert len(held) == 500 and not set(map(prompt_key, train)) & set(map(prompt_key, held))


LONG = "9" * 5_000
"""Python refuses to convert it to a number."""


@pytest.mark.parametrize(
    "meta", [{}, {"numbers": [1, 2], "target": 3}, {"input": f"{LONG},3", "output": LONG}]
)
@pytest.mark.parametrize(
    "asked", [f"1 2 3 {LONG}", f"Using the numbers [{LONG}, 2], create an equation that equals {LONG}."]
)
def test_digits_that_are_no_number_are_words(asked, meta):
    """So the text is the key, unless the columns hold a problem whose numbers it names."""
    is_named = "numbers" in meta and asked.startswith("1 2 3")
    expected = "countdown [1, 2] 3" if is_named else repr([("user", asked)])
    assert prompt_key(Prompt([u(asked)], "row", meta)) == expected
