"""Time one call of the Countdown verifier on honest, wrong and hostile completions.

    python benchmarks/countdown_score.py

Prints the median and the worst of many calls, in microseconds of CPU time, for both modes. Whatever a model
writes, a call should stay below a millisecond.
"""

from __future__ import annotations

import statistics
import time

from rich.console import Console
from rich.table import Table

from boresight.tasks.countdown import generate_problems, score, trace

REPEATS = 200
EXAMPLE = generate_problems(1, seed=0, sizes=(4,))[0]


def answer(expression: str) -> str:
    return f"<answer>{expression}</answer>"


CASES = {
    "solution": answer("(3 + 4) * 2 - 1"),
    "worked solution, 1 kB": trace(EXAMPLE).messages[-1]["content"],
    "wrong numbers": answer("3 + 4 + 5 + 6"),
    "no answer, 8 kB of text": "thinking, still thinking. " * 320,
    "10,000 parentheses": answer("(" * 10_000 + "1" + ")" * 10_000),
    "20 parentheses, then nonsense": answer("(" * 20 + "1 2" + ")" * 20),
    "99 additions": answer("+".join("1" * 100)),
    "66 divisions": answer("/".join(["97"] * 66)),
    "199 signs": answer("-" * 199 + "1"),
    "a 200-digit number": answer("9" * 200),
    "9**9**9**9": answer("9**9**9**9"),
    "a power just below the cap": answer("(9*9)**(9*9*9)//9**(9*9)"),
    "290 signs": answer("-" * 290 + "1"),
    "2,000 unclosed tags": "<answer>" * 2_000,
    "2,000 empty answers": "<answer></answer>" * 2_000,
    "2,000 lines with closing tags": "</answer>\n" * 2_000,
}
NUMBERS = {
    "10,000 parentheses": [1],
    "20 parentheses, then nonsense": [1, 2],
    "99 additions": [1] * 100,
    "66 divisions": [97] * 66,
    "199 signs": [1],
    "290 signs": [1],
    "9**9**9**9": [9] * 4,
    "a power just below the cap": [9] * 8,
}


def microseconds(completion: str, numbers: list[int], mode: str) -> list[float]:
    times = []
    for _ in range(REPEATS):
        start = time.thread_time_ns()
        score(completion, numbers, 24, mode)
        times.append((time.thread_time_ns() - start) / 1000)
    return times


def main() -> None:
    table = Table(title="Countdown scorer, microseconds a call")
    for column in ("completion", "strict median", "strict worst", "compat median", "compat worst"):
        table.add_column(column, justify="left" if column == "completion" else "right")
    for name, completion in CASES.items():
        numbers = NUMBERS.get(name, [1, 2, 3, 4])
        both = [microseconds(completion, numbers, mode) for mode in ("strict", "compat")]
        cells = [f"{pick(times):.0f}" for times in both for pick in (statistics.median, max)]
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
