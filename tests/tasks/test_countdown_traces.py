"""Teacher traces solve the problem, say only what is true, and show the behaviours asked for."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest

from boresight.core.errors import UserError
from boresight.tasks.countdown import countdown_prompt, generate_problems, problem, reachable, score, trace
from boresight.tasks.countdown.traces import BEHAVIOURS

PROBLEMS = generate_problems(60, seed=5)
NUMBER = r"\(?-?\d+(?:/\d+)?\)?"
EQUATION = re.compile(rf"({NUMBER}) ([-+*/]) ({NUMBER}) = (-?\d+(?:/\d+)?)")
CLAIM = re.compile(
    r"(?:So |= \d+, )(\d[\d, and]*) have to make (-?\d+(?:/\d+)?)\.\n(They cannot|No combination)?"
)

SHOWS = {
    "backtracking": r"go back and try|different approach|start again",
    "backward_chaining": r"work backwards|start from the goal",
    "subgoals": r"Sub-goal 1|Step 1",
    "verification": r"Let me check|To verify|Checking",
}


def text_of(demonstration) -> str:
    return demonstration.messages[-1]["content"]


def exact(operand: str) -> Fraction:
    return Fraction(operand.strip("()"))


@pytest.mark.parametrize("seed", range(3))
def test_traces_solve_their_problem_and_every_statement_is_true(seed):
    for p in PROBLEMS:
        text = text_of(trace(p, seed=seed))
        assert re.fullmatch(r"<think>\n.+\n</think>\n<answer> [^<]+ </answer>", text, re.DOTALL)
        assert score(text, p.numbers, p.target).correct
        equations = EQUATION.findall(text)
        assert len(equations) >= 2 * (len(p.numbers) - 1)
        for a, operation, b, c in equations:
            x, y = exact(a), exact(b)
            value = {"+": x + y, "-": x - y, "*": x * y, "/": x / y if y else None}[operation]
            assert value == Fraction(c), text
        for numbers, value, impossible in CLAIM.findall(text):
            can = Fraction(value) in reachable([int(n) for n in re.findall(r"\d+", numbers)])
            assert can != bool(impossible), text
        for value, miss, way in re.findall(r"= (-?\d+)\. That is (\d+) too (much|little)", text):
            assert int(value) - p.target == (int(miss) if way == "much" else -int(miss))


def test_a_planted_falsehood_would_be_found():
    assert EQUATION.findall("3 - 8 = -5, (-5) + 4 = 7, 1 / 3 = 1/3.") == [
        ("3", "-", "8", "-5"), ("(-5)", "+", "4", "7"), ("1", "/", "3", "1/3"),
    ]  # fmt: skip


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_trace_shows_the_behaviours_asked_for_and_no_others(behaviour):
    for p in PROBLEMS[:20]:
        shown = text_of(trace(p))
        alone = text_of(trace(p, behaviours=[behaviour]))
        without = text_of(trace(p, behaviours=[b for b in BEHAVIOURS if b != behaviour]))
        assert re.search(SHOWS[behaviour], shown) and re.search(SHOWS[behaviour], alone)
        assert not re.search(SHOWS[behaviour], without)


def test_the_seed_varies_the_trace():
    p = problem([3, 7, 8, 12], 47)
    texts = {text_of(trace(p, seed=seed)) for seed in range(20)}
    assert len(texts) > 15
    assert text_of(trace(p, seed=1)) == text_of(trace(p, seed=1))
    assert len({text.split("<answer>")[1] for text in texts}) > 1


def test_a_demonstration_carries_its_prompt_and_its_problem():
    p = PROBLEMS[0]
    made = trace(p, style="base", behaviours=["verification"])
    assert (
        made.messages[:-1] == countdown_prompt(p, "base").prompt and made.messages[-1]["role"] == "assistant"
    )
    assert made.meta == {"numbers": list(p.numbers), "target": p.target, "behaviours": ["verification"]}
    assert made.id == p.id


def test_easy_solutions_are_preferred():
    """8 - 2 + 4 can also be written 4 - (2 - 8), through a negative number."""
    p = problem([2, 4, 8], 10)
    for seed in range(20):
        assert not re.search(r"-\d", text_of(trace(p, seed=seed, behaviours=[])))


def test_fractions_appear_where_nothing_else_solves_it():
    assert "8/3" in text_of(trace(problem([3, 3, 8, 8], 24)))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"behaviours": ["verify"]}, "did you mean 'verification'"),
        ({"style": "chatty"}, "did you mean 'chat'"),
    ],
)
def test_unknown_names_suggest_the_nearest(arguments, complaint):
    with pytest.raises(UserError, match=complaint):
        trace(PROBLEMS[0], **arguments)


def test_an_impossible_problem_is_refused():
    with pytest.raises(UserError, match="1, 1 and 1 cannot make 50"):
        trace(problem([1, 1, 1], 50))


def test_prompts_have_the_public_wording():
    base = countdown_prompt(problem([44, 19, 35], 98), "base").prompt[0]["content"]
    assert base.startswith("A conversation between User and Assistant.")
    assert "\nUser: Using the numbers [44, 19, 35], create an equation that equals 98. " in base
    assert "for example <answer> (1 + 2) / 3 </answer>.\nAssistant: Let me solve this step by step.\n" in base
    assert countdown_prompt(problem([3, 7, 8], 29), "tiny").prompt == [
        {"role": "user", "content": "3 7 8 = 29"}
    ]
