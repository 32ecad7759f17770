"""Countdown: reach a target with every given number once, using + - * / and parentheses.

    from boresight.tasks.countdown import generate, prompt, score

    problem = generate(1, seed=0)[0]
    score("<answer> (3 + 4) * 2 </answer>", [2, 3, 4], 14)

`problems` makes, reads and splits them; `solver` solves them exactly; `prompts` words them as the public
data does; `traces` writes worked solutions in English and `search` in the tiny model's few words; `scorer`
grades completions, strictly (`answer`) or as the public grader does (`compat`).
"""

from boresight.tasks.countdown.problems import (
    Problem,
    every,
    generate,
    orders,
    problem,
    problem_of,
    read_problems,
)
from boresight.tasks.countdown.prompts import prompt
from boresight.tasks.countdown.scorer import Score, score
from boresight.tasks.countdown.search import search_trace
from boresight.tasks.countdown.solver import reachable, solve
from boresight.tasks.countdown.traces import trace

__all__ = [
    "Problem",
    "Score",
    "every",
    "generate",
    "orders",
    "problem",
    "problem_of",
    "prompt",
    "reachable",
    "read_problems",
    "score",
    "search_trace",
    "solve",
    "trace",
]
