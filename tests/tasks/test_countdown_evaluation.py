"""Countdown rates by hand: accuracy and form apart, pass@k, clusters, missing completions, files."""

from __future__ import annotations

import json

import pytest

from boresight.core.errors import UserError
from boresight.data.reading.files import records
from boresight.stats.intervals import clopper_pearson
from boresight.tasks.countdown import generate_problems, problem, solve
from boresight.tasks.countdown.evaluation import compare_countdown, evaluate_completions, evaluate_records

RIGHT, WRONG, NONE = "<answer>3 + 4</answer>", "<answer>4 - 3</answer>", "I give up"
PROBLEM = problem([3, 4], 7)


def test_greedy_rates_have_exact_intervals():
    got = evaluate_completions([PROBLEM] * 4, [[RIGHT], [WRONG], [WRONG], [NONE]])
    assert (got.accuracy.value, got.accuracy.n) == (0.25, 4)
    assert (got.accuracy.low, got.accuracy.high) == clopper_pearson(1, 4)
    assert got.format_rate.value == 0.75
    assert got.pass_at[1].value == 0.25


def test_pass_at_k_is_unbiased():
    """2 right of 4: pass@2 = 1 - C(2, 2) / C(4, 2) = 5/6; 0 right of 4: 0. Mean 5/12."""
    got = evaluate_completions([PROBLEM] * 2, [[RIGHT, RIGHT, WRONG, NONE], [WRONG] * 4], ks=(1, 2, 4))
    assert got.accuracy.value == pytest.approx(2 / 8)
    assert [got.pass_at[k].value for k in (1, 2, 4)] == pytest.approx([1 / 4, 5 / 12, 1 / 2])


def test_intervals_are_clustered_by_problem():
    """Sixteen copies of one answer are no more evidence than one."""
    answers = [[RIGHT], [WRONG]] * 20
    one = evaluate_completions([PROBLEM] * 40, answers).accuracy
    many = evaluate_completions([PROBLEM] * 40, [a * 16 for a in answers]).accuracy
    assert many.n == 40 and many.high - many.low > 0.9 * (one.high - one.low)


def test_a_perfect_score_is_not_certainty():
    got = evaluate_completions([PROBLEM] * 10, [[RIGHT, RIGHT]] * 10, ks=(2,))
    assert (got.accuracy.low, got.accuracy.high) == clopper_pearson(10, 10) and got.accuracy.low < 0.75
    assert got.pass_at[2].low < 0.75


def test_a_missing_completion_is_missing_not_wrong():
    got = evaluate_completions([PROBLEM] * 3, [[RIGHT, None], [WRONG, WRONG], [None, None]], ks=(1, 2))
    assert got.accuracy.value == pytest.approx(1 / 3) and got.accuracy.missing == 3 and got.accuracy.n == 2
    assert got.pass_at[2].value == 0 and got.pass_at[2].n == 1 and got.pass_at[2].missing == 2


def test_compat_blends_what_strict_keeps_apart():
    assert evaluate_completions([problem([2, 3], 8)], [["<answer>2**3</answer>"]]).accuracy.value == 0
    got = evaluate_completions([problem([2, 3], 8)], [["<answer>2**3</answer>"]], mode="compat")
    assert got.accuracy.value == 1


def test_differences_are_paired_by_problem():
    problems = generate_problems(30, seed=0)
    solved = [[f"<answer>{solve(p.numbers, p.target)}</answer>"] for p in problems]
    before = evaluate_completions(problems, [[NONE]] * 15 + solved[15:])
    after = evaluate_completions(problems[::-1], solved[::-1])
    accuracy, form = compare_countdown(before, after)
    assert accuracy.name == "accuracy" and accuracy.difference.value == 0.5
    assert accuracy.before.value == 0.5 and accuracy.after.value == 1
    assert accuracy.difference.low > 0.2 and form.difference.n == 30
    json.dumps(accuracy.as_dict())


def test_completions_made_elsewhere():
    """One row a completion or one row a problem; rows of one problem are one cluster."""
    rows = [
        {"nums": [3, 4], "target": 7, "completion": RIGHT},
        {"nums": [4, 3], "target": 7, "completion": WRONG},
        {"numbers": [1, 2, 3], "target": 6, "completions": ["<answer>1 + 2 + 3</answer>", None]},
    ]
    got = evaluate_records(enumerate(rows, 1), "elsewhere")
    assert len(got.problems) == 2 and got.accuracy.value == pytest.approx(2 / 3) and got.accuracy.missing == 1
    written = [result.as_dict() for result in got.problems]
    assert written[0]["scores"][1]["reason"] == "its value is 1, not 7" and written[1]["scores"][1] is None
    assert evaluate_records(enumerate(written, 1), "scored").as_dict() == got.as_dict()


def test_a_problem_asked_twice_is_paired_by_its_mean():
    before = evaluate_completions([PROBLEM, problem([1, 2], 3)], [[WRONG], [NONE]])
    asked = [PROBLEM, problem([4, 3], 7), problem([1, 2], 3)]
    accuracy, _ = compare_countdown(before, evaluate_completions(asked, [[WRONG], [RIGHT], [NONE]]))
    assert (accuracy.difference.value, accuracy.difference.n) == (0.25, 2)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"nums": [3, 4], "target": 7}, "row 1: the field completion"),
        ({"nums": [3, 4], "target": 7, "completion": 5}, "row 1: completion is not text"),
        ({"nums": [3, 4], "target": 7, "completions": "text"}, "row 1: completions is not text"),
        ({"completion": "text"}, "row 1: not a Countdown problem"),
        ([1, 2], "row 1: not a JSON object"),
    ],
)
def test_a_bad_row_is_named(row, complaint):
    with pytest.raises(UserError, match=complaint):
        evaluate_records([(1, row)], "elsewhere")


def test_pass_at_more_than_there_are_is_refused():
    with pytest.raises(UserError, match="pass@4 needs k from 1 to 2"):
        evaluate_completions([PROBLEM], [[RIGHT, WRONG]], ks=(1, 4))


@pytest.mark.real_data
def test_public_teacher_answers(real_data):
    """2,000 rows that their authors validated as correct."""
    rows = records(real_data / "countdown_posttrain/sft_train_2k.jsonl")
    got = evaluate_records(((n, {**row, "completion": row["response"]}) for n, row in rows), "teacher")
    assert got.accuracy.value == 1 and got.format_rate.value == 1
