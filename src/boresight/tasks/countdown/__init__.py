"""Countdown: reach a target with every given number once, using + - * / and parentheses.

    from boresight.tasks.countdown import countdown_prompt, generate_problems, score

    problem = generate_problems(1, seed=0)[0]
    score("<answer> (3 + 4) * 2 </answer>", [2, 3, 4], 14)

- `problems`: generate, read and split problems.
- `solver`: solve problems exactly.
- `prompts`: write prompts in the wording of the public data.
- `traces`: write worked solutions in English.
- `search`: write searches in the vocabulary of the tiny model.
- `scorer`: grade completions strictly (`answer`) or as the public grader does (`compat`).
"""

from boresight.tasks.countdown.problems import (
    Problem,
    all_problems,
    generate_problems,
    orders,
    problem,
    problem_of,
)
from boresight.tasks.countdown.prompts import countdown_prompt
from boresight.tasks.countdown.scorer import CountdownScore, score
from boresight.tasks.countdown.search import search_trace
from boresight.tasks.countdown.solver import reachable, solve
from boresight.tasks.countdown.traces import trace

__all__ = [
    "CountdownScore",
    "Problem",
    "all_problems",
    "countdown_prompt",
    "generate_problems",
    "orders",
    "problem",
    "problem_of",
    "reachable",
    "score",
    "search_trace",
    "solve",
    "trace",
]
