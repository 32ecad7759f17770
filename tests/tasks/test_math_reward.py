"""The math reward: right answers in many forms, and what tries to look right."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.scorers.reward_function import RewardFunction
from boresight.tasks.math import compare
from boresight.tasks.math.compare import Worker, can_be_gold, equal
from boresight.tasks.math.final import final_answer, last_number
from boresight.tasks.math.quantity import Quantity, quantity
from boresight.tasks.math.rewards import solves_math
from boresight.tasks.math.written import MAX_LENGTH, cleaned
from tests.tasks.gsm8k_completions import earned, made, read_solutions


def one(completion, gold="18", **options):
    return solves_math([""], [completion], [{"answer": gold}], **options)[0]


def box(answer):
    return f"\\boxed{{{answer}}}"


# Where the answer stands ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "completion",
    [
        "\\boxed{18}",
        "First \\boxed{17}, no: $\\boxed{18}$.",
        "9 * 2 = 18\n#### 18",
        "#### 17\n#### 18\nDone.",
        "Hence <answer>18</answer>",
        "The answer is 18.",
        "**Answer:** 18",
        "The final answer is: $18$. I hope it is correct.",
        "18",
        " $18.00 ",
        "<think>\\boxed{17}</think> \\boxed{18}",
        "17?</think>\n#### 18",
        "#### 17 but \\boxed{18}",
        "\\fbox{18}",
    ],
)
def test_the_marked_answer_is_read(completion):
    assert one(completion) == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        "",
        " ",
        "\\boxed{}",
        "\\boxed{18",
        "\\boxed{18} \\boxed{17}",
        "\\boxed{18} and so \\boxed{",
        "\\boxed{17} \\boxed{18} \\boxed{19}",
        "\\boxed{17 or 18}",
        "\\boxed{17, 18}",
        "\\boxed{18, 18}",
        "\\boxed{\\{17, 18\\}}",
        "\\boxed{17 = 18}",
        "\\boxed{18 = 17}",
        "\\boxed{\\boxed{17}}",
        "#### 18\n#### 17",
        "#### 17, 18, 19",
        "####",
        "<answer>18",
        "<answer>18</answer><answer>17</answer>",
        "<think>\\boxed{18}</think>",
        "<think>\\boxed{18}",
        "\\boxed{18}</think>",
        "<think>\\boxed{18}</think> \\boxed{17}",
        "The answer is 17 or 18.",
        "The answer is not 18.",
        "The answer is between 17 and 19.",
        "She has 18 eggs and sells them. " * 4,
        "boxed{18}",
        "\\boxed{eighteen}",
    ],
)
def test_guesses_thoughts_and_open_marks_earn_nothing(completion):
    assert one(completion) == 0.0


def test_an_unmarked_completion_is_wrong_unless_its_last_number_is_asked_for():
    prose = "She sells nine eggs at two dollars each, so that makes $18 every day at the market."
    assert (one(prose), one(prose, unmarked="last_number")) == (0.0, 1.0)
    assert one(prose + " Or rather 17.", unmarked="last_number") == 0.0
    assert one("no number " * 9, unmarked="last_number") == 0.0
    assert last_number("1,234.5 then -3/4 and v2 and 1.2.3") == "-3/4"


# What equals what -----------------------------------------------------------------------------------------

EQUAL = [
    (
        "18",
        [
            "18.0",
            "+18",
            "18%",
            "**18**",
            "1.8 \\times 10^{1}",
            "1.8e1",
            "18%",
            "018",
            "$18",
            "\\$18",
            "18 dollars",
            "18\\text{ cm}",
            "x = 18",
            "\\(18\\)",
            "18.",
        ],
    ),
    ("1234", ["1,234", "1{,}234", "1\\,234", "1 234", "1,234.00", "\\text{1234}"]),
    ("0.5", ["1/2", "\\frac{1}{2}", "\\dfrac12", "½", "50%", "50\\%", ".5"]),
    ("3.5", ["3 1/2", "3\\frac{1}{2}", "7/2", "\\frac{7}{2}"]),
    ("50%", ["50", "0.5", "50 percent", "1/2"]),
    ("-3", ["−3", "- 3", "$-3", "-$3", "\\frac{-6}{2}"]),
    ("1024", ["2^{10}", "2^10", "2**10"]),
    (1e-05, ["0.00001", "10^{-5}", "1 \\times 10^{-5}"]),
    ("p - q", ["p-q", "-q + p"]),
    ("5 \\text{ cm}^2", ["5", "5\\text{ cm}^{2}", "5 cm²"]),
    ("24", ["2 dozen eggs", "24 eggs"]),
    ("5 m/s", ["5", "5 meters per second", "5\\ \\mathrm{m}/\\mathrm{s}"]),
    ("\\sqrt{8}", ["2\\sqrt{2}", "2 \\cdot \\sqrt{2}", "8^{1/2}"]),
    ("(x+1)^2", ["x^2+2x+1", "(1+x)(1+x)"]),
    ("\\frac{1}{3}", ["1/3", "\\frac{2}{6}"]),
    ("(1, 2]", ["(1,2]", "\\left(1, 2\\right]"]),
    ("[0, \\infty)", ["[0,\\infty)", "x \\ge 0"]),
    ("(-\\infty, 1) \\cup (2, 3)", ["(2,3) \\cup (-\\infty,1)"]),
    ("\\{1, 2\\}", ["\\{2, 1\\}"]),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", ["\\begin{pmatrix}1\\\\2\\end{pmatrix}"]),
    ("\\text{Evelyn}", ["\\text{Evelyn}"]),
    ("90^\\circ", ["90", "90°", "90 degrees"]),
    ("She sells 9 eggs.\n#### 18", ["18"]),
    ("So it is $\\boxed{\\frac{3}{4}}$.", ["0.75"]),
    (18, ["18"]),
    (0.5, ["1/2"]),
]


@pytest.mark.parametrize(
    ("gold", "answer"), [(gold, answer) for gold, answers in EQUAL for answer in answers]
)
def test_equal_answers_in_other_forms(gold, answer):
    assert one(box(answer), gold) == 1.0


UNEQUAL = [
    (
        "18",
        [
            "17",
            "-18",
            "1.8",
            "180",
            "18.001",
            "9+9",
            "9*2",
            "36/2",
            "\\frac{36}{1} - 18",
            "9 \\times 2",
        ],
    ),
    (
        "18",
        ["18x", "18 x", "18i", "18e", "18 pi", "18\\pi", "18 thousand", "18 or so", "18 and a half", "18^2"],
    ),
    (
        "18",
        ["x", "e", "\\infty", "?", "*", "18 < x", "\\pm 18", "18!", "\\text{18 or 17}", "0x12", "1e1", "1_8"],
    ),
    ("18", ["１８", "١٨", "18\u200b17", "ⅩⅧ", "¹⁸", "18\x00"]),
    ("18 apples", ["18 oranges", "18 dollars", "$18"]),
    ("5 \\text{ cm}^2", ["5 cm", "5 cm^3"]),
    ("18 miles", ["18 miles per hour", "18 km"]),
    ("$18", ["18 cents", "€18"]),
    ("50%", ["0.5%", "5", "500%"]),
    ("1/3", ["0.333", "0.33333333", "33%"]),
    ("1/0", ["5"]),
    ("\\sqrt{2}", ["1.4", "2", "\\sqrt{3}"]),
    ("(1, 2]", ["[1,2]", "(1,2)", "1,2", "1.5"]),
    ("(1, 2)", ["(2, 1)"]),
    ("x^2+2x+1", ["x^2+2x", "x", "1"]),
    ("\\{1, 2\\}", ["1", "\\{1\\}", "\\{1,2,3\\}"]),
]


@pytest.mark.parametrize(
    ("gold", "answer"), [(gold, answer) for gold, answers in UNEQUAL for answer in answers]
)
def test_other_answers_earn_nothing(gold, answer):
    assert one(box(answer), gold) == 0.0


HOSTILE = [
    "9^{9^{9}}",
    "9**9**9",
    "9^9^9^9",
    "10^{100000}",
    "100000!",
    "9!!!!",
    "\\binom{1000000}{500000}",
    "\\sum_{k=1}^{1000000} k",
    "\\int_0^1 x^x dx",
    "{" * 400 + "18" + "}" * 400,
    "(" * 100 + "18" + ")" * 100,
    "\\frac{" * 30 + "1" + "}{2}" * 30,
    "\\sqrt{" * 30 + "18" + "}" * 30,
    "1" * 100,
    "18 " * 200,
    "__import__('os').system('true')",
    "\\input{/etc/passwd}",
    "\\write18{true}",
    "%s%s%s",
    "18" + "\\," * 1_000_000 + "1",
]


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_earn_nothing_and_never_reach_a_parser_that_hangs(answer, monkeypatch):
    monkeypatch.setattr(compare, "SECONDS", 60.0)
    monkeypatch.setattr(Worker, "stop", lambda self: pytest.fail("the worker was killed"))
    assert one(box(answer)) == 0.0
    assert one(box("18")) == 1.0


@pytest.mark.parametrize(
    "text", ["\\boxed{", "{", "}", "####", "answer is ", "<answer>", "18 ", "$", "\n", "1,"]
)
def test_long_completions_are_read_in_linear_time(text):
    """A quadratic search would not come back."""
    assert one(text * (300_000 // len(text)), unmarked="last_number") in (0.0, 1.0)


# Gold answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gold",
    [
        "?",
        "no answer",
        "see figure",
        "Paris",
        "yes",
        "no",
        "twenty-one",
        "x is equal to 3",
        "\\frac{1}{",
        "1" * 400,
        "###",
        "１８",
        "\\boxed{",
        "9^{9^9}",
        "...",
    ],
)
@pytest.mark.parametrize("repeat", [True, False])
def test_a_gold_answer_that_cannot_be_read_is_missing_never_1(gold, repeat):
    assert one(box(gold) if repeat else box("18"), gold) is None


@pytest.mark.parametrize("gold", ["", None, {}, [], True, ["1", "2"]])
def test_a_row_without_one_gold_answer_is_an_error(gold):
    with pytest.raises(UserError, match=r"reward math: the (gold answer in the )?column"):
        one(box("18"), gold)


def test_the_reward_fails_at_once_without_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"needs the package math-verify; run `pip install 'boresight\[math\]'`"
    ):
        RewardFunction("math").refuse_lacking([Prompt([], "p", {"answer": "18"})])


# The worker -----------------------------------------------------------------------------------------------


def test_the_worker_answers_in_any_thread():
    """Where math-verify's own time limit, a signal, raises."""
    found = []
    thread = threading.Thread(target=lambda: found.append(equal("\\sqrt{50}", "5\\sqrt{2}")))
    thread.start()
    thread.join()
    assert found == [True]


def test_a_comparison_that_takes_too_long_is_missing_and_the_next_one_works(monkeypatch):
    monkeypatch.setattr(compare, "SECONDS", 0.5)
    worker = Worker()
    assert worker.ask({"gold": "x^2", "answer": "9^{9^{9}}"}) is None
    monkeypatch.setattr(compare, "SECONDS", 60.0)
    assert worker.ask({"gold": "\\sqrt{4}", "answer": "2"}) == {"gold": True, "equal": True}
    worker.stop()


def test_the_worker_ends_when_its_input_does():
    script = Path(compare.worker.__file__)
    done = subprocess.run(
        [sys.executable, "-P", script], input=json.dumps({"gold": "2", "answer": "1+1"}) + "\n",
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == 'ready\n{"gold": true, "equal": true}\n'


# Exact numbers --------------------------------------------------------------------------------------------

NUMBERS = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=1000)


@given(NUMBERS)
@settings(max_examples=300, deadline=None)
def test_a_number_is_read_as_it_was_written(value):
    sign, (top, bottom) = "-" if value < 0 else "", abs(value).as_integer_ratio()
    whole, rest = divmod(top, bottom)
    forms = [f"{sign}\\frac{{{top}}}{{{bottom}}}"]
    if rest:
        forms += [f"{sign}{top}/{bottom}", f"{sign}{whole} {rest}/{bottom}"]
    else:
        forms += [f"{sign}{top:,}", f"{sign}{top}.0", f"{sign}${top}", f"{sign}{top} apples"]
    for form in forms:
        found = quantity(cleaned(form) or "")
        assert found is not None and found.value == value, form


@given(st.text(alphabet="0123456789.,-+/%$ {}\\fracxtedozn", max_size=14))
@settings(max_examples=2000, deadline=None)
def test_what_is_read_as_a_number_is_its_own_equal(text):
    plain = cleaned(text)
    found = quantity(plain) if plain else None
    if found is not None:
        assert found.equals(found) and can_be_gold(plain)


def test_units_may_be_left_out_and_never_differ():
    meters, feet = Quantity(Fraction(5), unit=("meter",)), Quantity(Fraction(5), unit=("foot",))
    assert Quantity(Fraction(5)).equals(meters) and meters.equals(Quantity(Fraction(5)))
    assert not meters.equals(feet)
    assert quantity("5 ft").unit == quantity("5 feet").unit == ("foot",)


def test_the_limit_of_length_holds():
    assert cleaned("1+" * (MAX_LENGTH // 2 - 1) + "1") is not None
    assert cleaned("1" + "+1" * MAX_LENGTH) is None
    assert final_answer("x" * 61) is None


# GSM8K ----------------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_completions_made_from_gsm8k_earn_what_they_should(real_data):
    """960 of them. The last number of a solution whose last step is cut may be the gold one by accident."""
    rows = list(made(read_solutions(real_data / "gsm8k/train.jsonl")))
    assert earned(rows, "wrong") == [m.strict for m in rows]
    others = [m for m, got in zip(rows, earned(rows, "last_number"), strict=True) if got != m.last_number]
    assert [(m.kind, m.row + 1) for m in others] == [("last step cut", n) for n in (37, 56, 62, 66, 75)]
    assert all(last_number(m.completion).lstrip("$") == m.gold.rpartition(" ")[2] for m in others)


@pytest.mark.real_data
def test_every_gold_answer_of_gsm8k_can_be_read(real_data):
    with (real_data / "gsm8k/train.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    golds = [f"#### {row['answer'].rpartition('#### ')[2]}" for row in rows]
    assert solves_math([""] * len(rows), golds, rows) == [1.0] * len(rows)
