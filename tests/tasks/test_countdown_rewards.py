"""Named Countdown rewards, by hand."""

from __future__ import annotations

import pytest

from boresight.core.errors import UserError
from boresight.tasks.countdown import countdown_prompt, problem, rewards

ROW = {"numbers": [2, 3, 4], "target": 14}


def earn(reward, *answers, row=ROW):
    completions = [f"<answer>{a}</answer>" if a is not None else "no tags" for a in answers]
    return reward([""] * len(answers), completions, [row] * len(answers))


def test_the_plain_reward():
    assert earn(rewards.plain, "(3 + 4) * 2", "3 + 4 + 2", "3 + 4", "2**3", "", None) == [
        1,
        0.1,
        0.1,
        0,
        0,
        0,
    ]


def test_correct_only():
    assert earn(rewards.correct, "(3 + 4) * 2", "3 + 4 + 2", None) == [1, 0, 0]


def test_compat_pays_for_powers_and_empty_tags():
    row = {"nums": [2, 3], "target": 8}
    assert earn(rewards.compat, "2**3", "", None, row=row) == [1, 0.1, 0]
    assert earn(rewards.plain, "2**3", "", None, row=row) == [0, 0, 0]


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ("(3 + 4) * 2", 1.0),
        ("3 * 4 + 2 - 1", 0.1 + 0.1 + 0.2 * 3 / 4 + 0.2 * 0.9),  # value 13; 1 is not given: 3 of 4
        ("3 + 4 + 2", 0.1 + 0.1 + 0.2 + 0.2 * 0.5),  # 9 is 5 short
        ("3 * 4", 0.1 + 0.1 + 0.2 * 2 / 3 + 0.2 * 0.8),
        ("14", 0.1 + 0 + 0 + 0.2),  # no operator, no given number, on target
        ("2 * 3 * 4 * 99", 0.1 + 0.1 + 0.2 * 3 / 4 + 0),
        ("2 / (3 - 3)", 0.1 + 0.1 + 0.2 * 2 / 4 + 0),
        ("2**3", 0.0),
        (None, 0.0),
    ],
)
def test_the_shaped_reward(answer, reward):
    assert earn(rewards.shaped, answer) == [pytest.approx(reward)]


def test_artefacts_cost_a_tenth_each_up_to_three():
    right = "<answer>(3 + 4) * 2</answer>"
    for junk, cost in [("<div>", 0.1), ("<div></div>", 0.2), ("```" * 5, 0.3), ("3" * 40, 0.2), ("3 < 4", 0)]:
        assert rewards.shaped([""], [junk + right], [ROW]) == [pytest.approx(1 - cost)]


def test_nothing_wrong_earns_as_much_as_a_solution():
    wrong = earn(rewards.shaped, "2 * 3 + 4 * 2", "2 + 3 * 4 + 0", "3 * 4 + 2 = 15")
    assert max(wrong) < 0.7


def test_an_answer_in_the_prompt_earns_nothing():
    asked = countdown_prompt(problem([1, 2, 3], 1), "base").prompt[0]["content"]
    for reward in (rewards.plain, rewards.correct, rewards.shaped, rewards.compat):
        assert reward([asked], [""], [{"numbers": [1, 2, 3], "target": 1}]) == [0]


def test_rows_without_a_problem_stop_the_run():
    with pytest.raises(UserError, match="not a Countdown problem"):
        rewards.plain([""], [""], [{"answer": 4}])
