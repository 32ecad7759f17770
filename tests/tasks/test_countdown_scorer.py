"""The strict verifier against exploits and an independent checker; the public grader bit for bit."""

from __future__ import annotations

import json
import re
import warnings
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boresight.core.errors import UserError
from boresight.tasks.countdown import CountdownScore, score
from boresight.tasks.countdown.answer import MAX_DEPTH, MAX_LENGTH
from boresight.tasks.countdown.compat import last_answer_tag


def answered(expression: str) -> str:
    return f"<think>3 + 4 = 7</think>\n<answer>{expression}</answer>"


# What is right ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "numbers", "target"),
    [
        ("(3 + 4) * 2", [2, 3, 4], 14),
        ("3*7+8", [3, 7, 8], 29),
        ("8 / (3 - 8 / 3)", [3, 3, 8, 8], 24),  # exact: in floats this is 23.999999999999989
        ("(5 - 1/5) * 5", [1, 5, 5, 5], 24),
        ("5 - 5 + 10", [5, 5, 10], 10),
        ("\n3 +\n4\t", [3, 4], 7),
        ("((7))", [7], 7),
        ("0 * 5 + 9", [0, 5, 9], 9),
    ],
)
def test_solutions_are_correct(expression, numbers, target):
    assert score(answered(expression), numbers, target) == CountdownScore(True, True, 1.0, "correct")


@pytest.mark.parametrize(
    ("expression", "note"),
    [("2 × 3", "× read as *"), ("2 * 3 = 6", "'= 6' left out"), ("2×3=6", "× read as *; '= 6' left out")],
)
def test_harmless_spellings_are_accepted_and_said(expression, note):
    assert score(answered(expression), [2, 3], 6) == CountdownScore(True, True, 1.0, f"correct; {note}")


def test_division_and_minus_signs_are_accepted():
    verdict = score(answered("8 ÷ 2 − 1"), [1, 2, 8], 3)
    assert verdict.correct and "÷ read as /" in verdict.reason and "− read as -" in verdict.reason


# What is wrong, and why ---------------------------------------------------------------------------------

EXPLOITS = [
    ("2**3", [2, 3], 8, "power"),
    ("89**97**63", [63, 89, 97], 3, "power"),
    ("9**9**9**9", [9, 9, 9, 9], 9, "power"),
    ("7//2", [2, 7], 3, "drops the remainder"),
    ("1.5", [1, 5], 1.5, "'.'"),
    ("1.5*2", [1, 2, 5], 3, "'.'"),
    ("(" * 10_000 + "1" + ")" * 10_000, [1], 1, "characters"),
    ("(" * 30 + "1" + ")" * 30, [1], 1, f"more than {MAX_DEPTH}"),
    ("٣ + ٤", [3, 4], 7, "'٣'"),
    ("３ + ４", [3, 4], 7, "'３'"),
    ("", [1, 2], 3, "empty"),
    ("  \n", [1, 2], 3, "empty"),
    ("-2+10", [2, 10], 8, "sign in front"),
    ("+7", [7], 7, "sign in front"),
    ("2(3)", [2, 3], 6, "operator is missing"),
    ("3 + ()", [3], 3, "empty"),
    ("007", [7], 7, "starts with a zero"),
    ("1_0", [10], 10, "'_'"),
    ("1e1", [1, 1], 10, "'e'"),
    ("0x7", [0, 7], 7, "'x'"),
    ("__import__('os')", [1], 1, "'_'"),
    ("3 4", [3, 4], 7, "not an arithmetic expression"),
    ("3 +", [3], 3, "not an arithmetic expression"),
    ("(3", [3], 3, "do not match"),
    ("3)(", [3], 3, "do not match"),
    ("3 < 4", [3, 4], 1, "'<'"),
    ("3 = 3 = 3", [3], 3, "'=' may only"),
    ("x = 3", [3], 3, "'x'"),
    ("= 3", [3], 3, "not an arithmetic expression"),
    ("3\xa0+ 4", [3, 4], 7, "'\\xa0'"),
    ("3\x004", [3, 4], 7, "'\\x00'"),
    (" " * 300 + "3 + " + " " * 300 + "4", [3, 4], 7, f"more than {MAX_LENGTH}"),
]


@pytest.mark.parametrize(("expression", "numbers", "target", "reason"), EXPLOITS)
def test_exploits_are_unformatted_and_say_why(expression, numbers, target, reason):
    verdict = score(answered(expression), numbers, target)
    assert (verdict.correct, verdict.formatted, verdict.reward) == (False, False, 0.0)
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("expression", "numbers", "target", "reason"),
    [
        ("3 + 4", [3, 4], 8, "its value is 7, not 8"),
        ("7 / 2", [2, 7], 3, "its value is 7/2, not 3"),
        ("3 + 4", [3, 4, 5], 7, "it uses 3, 4, not 3, 4, 5 once each"),
        ("3 + 4 + 3", [3, 4], 10, "once each"),
        ("34", [3, 4], 34, "it uses 34"),
        ("3 / (4 - 4)", [3, 4, 4], 3, "divides by zero"),
        ("3 + 4 = 8", [3, 4], 7, "it contains '= 8'"),
    ],
)
def test_wrong_answers_of_the_right_form(expression, numbers, target, reason):
    verdict = score(answered(expression), numbers, target)
    assert (verdict.correct, verdict.formatted, verdict.reward) == (False, True, 0.0)
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("", "no <answer>"),
        ("3 + 4", "no <answer>"),
        ("<answer>3 + 4", "not closed"),
        ("<answer>3 + 4</answer> or <answer>4 +", "not closed"),
        ("</answer>3 + 4<answer>", "not closed"),
        ("<ANSWER>3 + 4</ANSWER>", "no <answer>"),
    ],
)
def test_only_a_closed_answer_counts(completion, reason):
    verdict = score(completion, [3, 4], 7)
    assert not verdict.formatted and reason in verdict.reason


def test_the_last_answer_counts():
    right, wrong = "<answer>3 + 4</answer>", "<answer>3 - 4</answer>"
    assert score(wrong + right, [3, 4], 7).correct
    assert not score(right + wrong, [3, 4], 7).correct
    assert score("<answer>first <answer>3 + 4</answer></answer>", [3, 4], 7).correct


@pytest.mark.parametrize("style", ["base", "chat"])
def test_an_answer_in_the_prompt_does_not_count(style):
    """The public prompt's own example, `(1 + 2) / 3`, solves the problem 1, 2, 3 -> 1."""
    from boresight.tasks.countdown import countdown_prompt, problem

    text = countdown_prompt(problem([1, 2, 3], 1), style).prompt[-1]["content"]
    verdict = score(text, [1, 2, 3], 1)
    assert not verdict.correct and not verdict.formatted and "more than one completion" in verdict.reason
    chat = "<|im_start|>user\nfor example <answer>1 + 2</answer><|im_end|>\n<|im_start|>assistant\n"
    assert not score(chat, [1, 2], 3).formatted


def test_an_unknown_mode_is_named():
    with pytest.raises(UserError, match="did you mean 'strict'"):
        score("", [1], 1, mode="strickt")


# An independent checker ---------------------------------------------------------------------------------


def solves(completion: str, numbers: list[int], target: int) -> bool:
    """The definition, written another way: precedence climbing over tokens, no syntax tree."""
    if any(mark in completion for mark in ("<|im_start|>", "\nAssistant:", "And return the final answer")):
        return False
    _, opened, rest = completion.rpartition("<answer>")
    text, closed, _ = rest.partition("</answer>")
    if not (opened and closed) or not 0 < len(text.strip(" \t\r\n")) <= MAX_LENGTH:
        return False
    text = text.replace("×", "*").replace("÷", "/").replace("−", "-")
    side = re.fullmatch(r"([^=]*)=[ \t\r\n]*([0-9]+)[ \t\r\n]*", text)
    if side and int(side[2]) != target:
        return False
    text = side[1] if side else text
    tokens = re.findall(r"[0-9]+|[-+*/()]", text)
    if "".join(tokens) != re.sub(r"[ \t\r\n]", "", text) or re.search(r"[0-9]\s+[0-9]", text):
        return False
    if any(len(t) > 1 and t[0] == "0" for t in tokens) or _depth(tokens) > MAX_DEPTH:
        return False
    try:
        value = _sum(tokens)
    except (IndexError, ValueError, ZeroDivisionError):
        return False
    literals = [int(t) for t in re.findall(r"[0-9]+", text)]
    return not tokens and sorted(literals) == sorted(numbers) and value == target


def _depth(tokens: list[str]) -> int:
    depth = deepest = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token, 0)
        deepest = max(deepest, depth)
    return deepest


def _sum(tokens: list[str]) -> Fraction:
    value = _product(tokens)
    while tokens and tokens[0] in "+-":
        value = value + _product(tokens) if tokens.pop(0) == "+" else value - _product(tokens)
    return value


def _product(tokens: list[str]) -> Fraction:
    value = _atom(tokens)
    while tokens and tokens[0] in "*/":
        value = value * _atom(tokens) if tokens.pop(0) == "*" else value / _atom(tokens)
    return value


def _atom(tokens: list[str]) -> Fraction:
    token = tokens.pop(0)
    if token != "(":
        return Fraction(int(token))
    value = _sum(tokens)
    if tokens.pop(0) != ")":
        raise ValueError
    return value


SPACES = ["", " ", "\n", "\t", "\x0c", "\x00", "\xa0"]
SYMBOLS = [*"0123+-*/()=.,_ex×÷−٣²½", "007", "**", "//", "(1", "2)", "((", "1.5", "9**9**9", "= 24"]
TAGS = ["<answer>", "</answer>", "<think>", "answer", "<|im_start|>", "\nAssistant:", "__import__"]
FRAGMENTS = st.sampled_from(["7", "10", "24", "25", "99", *SPACES, *SYMBOLS, *TAGS])
NUMBERS = st.lists(st.integers(0, 99), min_size=1, max_size=5)


JOINTS = ["{} + {}", "({} - {})", "{}*{}", "({}/{})", "({} − {})"]
TARGETS = st.integers(0, 99)


@st.composite
def near_solutions(draw):
    """A random valid expression with its numbers and value, and then perhaps one character changed."""
    numbers = draw(NUMBERS)
    texts = [str(n) for n in numbers]
    while len(texts) > 1:
        a, b = texts.pop(draw(st.integers(0, len(texts) - 1))), texts.pop()
        texts.append(
            draw(st.sampled_from(["{} + {}", "({} - {})", "{}*{}", "({}/{})", "({} − {})"])).format(a, b)
        )
    text = texts[0]
    if draw(st.booleans()):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.one_of(FRAGMENTS, st.characters())) + text[place + 1 :]
    try:
        tokens = re.findall(r"[0-9]+|[-+*/()]", text.replace("−", "-"))
        value = _sum(tokens)
    except (IndexError, ValueError, ZeroDivisionError):
        value = Fraction(7)
    target = int(value) if draw(st.integers(0, 9)) else draw(st.integers(0, 99))
    return f"<answer>{text}</answer>", numbers, target


CASES = st.one_of(
    near_solutions(),
    st.tuples(st.lists(FRAGMENTS, max_size=40).map("".join), NUMBERS, TARGETS),
    st.tuples(st.lists(FRAGMENTS, max_size=12).map("".join).map(answered), NUMBERS, TARGETS),
    st.tuples(st.text(max_size=200).map(answered), NUMBERS, TARGETS),
    st.tuples(st.text(max_size=200), NUMBERS, TARGETS),
)


def check_case(case) -> None:
    completion, numbers, target = case
    verdict = score(completion, numbers, target)
    assert verdict.correct == solves(completion, numbers, target)
    assert verdict.reward == float(verdict.correct) and verdict.reason
    assert verdict.formatted or not verdict.correct
    graded = score(completion, numbers, target, mode="compat")
    assert graded.reward == (1.0 if graded.correct else 0.1 if graded.formatted else 0.0)
    if "**" not in completion:  # the reference evaluates, so powers could take for ever
        assert graded.reward == public_grade(completion, numbers, target)


@given(CASES)
@settings(max_examples=2000, deadline=None)
def test_any_text_is_scored_as_the_definition_says(case):
    check_case(case)


@pytest.mark.slow
@given(CASES)
@settings(max_examples=100_000, deadline=None)
def test_a_hundred_thousand_texts_are_scored_as_the_definition_says(case):
    check_case(case)


# The public grader --------------------------------------------------------------------------------------


def public_grade(completion: str, numbers: list[int], target: int) -> float:
    """What the public grader does, with its regular expressions and its eval."""
    found = re.findall(r"<answer>(.*?)</answer>", completion)
    if not found:
        return 0.0
    text = found[-1].strip()
    try:
        if sorted(int(n) for n in re.findall(r"\d+", text)) != sorted(numbers):
            return 0.1
        if not re.match(r"^[\d+\-*/().\s]+$", text):
            return 0.1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return 1.0 if abs(eval(text, {"__builtins__": None}, {}) - target) < 1e-5 else 0.1
    except Exception:
        return 0.1


@pytest.mark.parametrize(
    ("completion", "numbers", "target", "reward"),
    [
        ("<answer>(3 + 4) * 2</answer>", [2, 3, 4], 14, 1.0),
        ("<answer>2**3</answer>", [2, 3], 8, 1.0),
        ("<answer>7//2</answer>", [2, 7], 3, 1.0),
        ("<answer>1.5*2</answer>", [1, 2, 5], 3, 1.0),
        ("<answer>-2+10</answer>", [2, 10], 8, 1.0),
        ("<answer>(-4)**(1/2)*2 + 4</answer>", [1, 2, 2, 4, 4], 4, 0.1),  # complex: 4 + 4j
        ("<answer>((-4)**(1/2))**2</answer>", [1, 2, 2, 4], -4, 1.0),  # complex on the way: -4 + 1e-15j
        ("<answer>9**9**9**9</answer>", [9, 9, 9, 9], 9, 0.1),
        ("<answer></answer>", [2, 3], 6, 0.1),
        ("<answer>nonsense</answer>", [2, 3], 6, 0.1),
        ("<answer>2*3 = 6</answer>", [2, 3], 6, 0.1),
        ("<answer>2 × 3</answer>", [2, 3], 6, 0.1),
        ("<answer>2 *\n3</answer>", [2, 3], 6, 0.0),
        ("<answer>2 * 3</answer> and that is that.", [2, 3], 6, 1.0),
        ("for example <answer> (1 + 2) / 3 </answer>.\nAssistant:", [4, 5], 9, 0.1),
        ("no tags", [2, 3], 6, 0.0),
        ("<answer>...</answer>", [], 6, 0.1),
        ("<answer>2(3)</answer>", [2, 3], 6, 0.1),
        ("<answer>8 / (3 - 8 / 3)</answer>", [3, 3, 8, 8], 24, 1.0),
    ],
)
def test_compat_pays_what_the_public_grader_pays(completion, numbers, target, reward):
    verdict = score(completion, numbers, target, mode="compat")
    assert verdict.reward == reward
    assert verdict.formatted == (reward > 0) and verdict.correct == (reward == 1)


@given(st.lists(st.sampled_from(["<answer>", "</answer>", "a", "\n", "<", " "]), max_size=14).map("".join))
@settings(max_examples=1000, deadline=None)
def test_the_linear_search_finds_what_the_regular_expression_finds(text):
    found = re.findall(r"<answer>(.*?)</answer>", text)
    assert last_answer_tag(text) == (found[-1].strip() if found else None)


@pytest.mark.real_data
def test_compat_agrees_with_the_public_grader_on_public_rows(real_data):
    """2,000 teacher answers, each also scored against the next row's problem."""
    rows = [
        json.loads(s) for s in (real_data / "countdown_posttrain/sft_train_2k.jsonl").open(encoding="utf-8")
    ]
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        for problem in (row, other):
            case = (row["response"], problem["numbers"], problem["target"])
            assert score(*case, mode="compat").reward == public_grade(*case)
        assert score(row["response"], row["numbers"], row["target"]).correct == row["validation"]["ok"]
