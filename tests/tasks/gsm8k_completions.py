"""Completions made from GSM8K's solutions, each with what it should earn.

`python -m tests.tasks.gsm8k_completions` prints by kind how often the math reward pays that, and where not.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from boresight.tasks.math.rewards import solves_math

PROBLEMS = 120
UNITS = ("dollars", "apples", "miles", "hours")


class Made(NamedTuple):
    """A completion to problem `row`; `strict` and `last_number` are what it should earn."""

    row: int
    kind: str
    gold: str
    completion: str
    strict: float
    last_number: float


def read_solutions(file: Path) -> list[str]:
    """The first solutions, with the calculator's notes left out."""
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(next(lines)) for _ in range(PROBLEMS)]
    return [re.sub(r"<<[^>]*>>", "", row["answer"]) for row in rows]


def made(solutions: list[str]) -> Iterator[Made]:
    """Eight completions of every problem."""
    for row, solution in enumerate(solutions):
        steps, _, gold = solution.partition("\n#### ")
        number = int(gold.replace(",", ""))
        for form in forms(number, steps, row):
            yield Made(row, "right, in another form", solution, form, 1, 1)
        wrong = (number + 1, -number or 5, number * 10 or 7, number + 100)[row % 4]
        marked = (f"{steps}\n#### {wrong}", f"{steps} \\boxed{{{wrong}}}", f"The answer is {wrong}.")[row % 3]
        yield Made(row, "other number", solution, marked, 0, 0)
        unit, other = UNITS[row % 4], UNITS[(row + 1) % 4]
        yield Made(
            row, "wrong unit", f"{number} {unit}", f"{steps} \\boxed{{{number} \\text{{ {other}}}}}", 0, 0
        )
        yield Made(
            row, "right unit", f"{number} {unit}", f"{steps} \\boxed{{{number} \\text{{ {unit}}}}}", 1, 1
        )
        inside = (
            f"First I thought of {number} and of other numbers too, but on looking at it again it is {wrong}."
        )
        yield Made(row, "right number inside prose", solution, inside, 0, 0)
        last = f"After all of these steps we see at last that the number that was asked for must be {number}."
        yield Made(row, "right number ends prose", solution, last, 0, 1)
        yield Made(row, "last step cut", solution, "\n".join(steps.split("\n")[:-1]) + "\nSo the", 0, 0)


def forms(number: int, steps: str, row: int) -> list[str]:
    """Two ways to write the right answer, which change from problem to problem."""
    ways = [
        f"{steps}\n#### {number:,}",
        f"{steps} So \\boxed{{{number}}}.",
        f"$\\boxed{{{number}.00}}$",
        f"The answer is ${number:,}.",
        f"**Answer:** {number} in total",
        f"<think>{steps} or {number + 1}?</think><answer>{number}</answer>",
        f"\\[ x = \\boxed{{\\${number}}} \\]",
        f"\\boxed{{\\frac{{{2 * number}}}{{2}}}}",
        f"{steps} The final answer is: {number}\\%.",
        f"\\boxed{{{number}\\text{{ of them}}}}" if row % 2 else f"\\boxed{{{number} \\text{{ kg}}}}",
    ]
    return [ways[row % len(ways)], ways[(row + 3) % len(ways)]]


def earned(rows: list[Made], unmarked: str) -> list[float | None]:
    """What the reward pays."""
    columns = [{"answer": m.gold} for m in rows]
    return solves_math([""] * len(rows), [m.completion for m in rows], columns, unmarked=unmarked)


def main() -> None:
    """Print the table."""
    folder = os.environ.get("BORESIGHT_DATA", "../shared/data")
    rows = list(made(read_solutions(Path(folder) / "gsm8k/train.jsonl")))
    for unmarked in ("wrong", "last_number"):
        pairs = [
            (m, m.strict if unmarked == "wrong" else m.last_number, got)
            for m, got in zip(rows, earned(rows, unmarked), strict=True)
        ]
        agree, total = Counter(m.kind for m, want, got in pairs if want == got), Counter(m.kind for m in rows)
        print(f"unmarked: {unmarked}, {sum(agree.values())} of {len(rows)}")
        for kind, n in total.items():
            print(f"  {kind}: {agree[kind]} of {n}")
        for m, want, got in pairs:
            if want != got:
                place = f"row {m.row + 1}, {m.kind}"
                print(f"    {place}: {got}, not {want}: {m.completion[-90:]!r}, gold {m.gold[-12:]!r}")


if __name__ == "__main__":
    main()
