"""The public Countdown grader, reproduced so that results can be compared with published numbers.

TinyZero's `countdown.py` and its descendants give 0 without `<answer>…</answer>` on one line. They give 1 if
the digit runs of the last such answer are the given numbers and its value in Python is within 1e-5 of the
target, and 0.1 for every other answer. Errors of the grader are reproduced: it accepts powers, `//`, signs,
and `1.5` as a use of 1 and 5, and it rejects `×`, `÷`, `= target` and a line break inside the tags.

The last answer anywhere in the text is graded, as in the copies that grade a completion without its prompt;
TinyZero's own file reads only the last line and requires the prompt before it.

Three things differ, without effect on any grade that the public code computes in reasonable time:

- `eval` is not used: a walk over the syntax tree does the same arithmetic on Python's numbers;
- a power of more than `MAX_BITS` bits gets 0.1; the public code computes it, which may not terminate;
- an answer longer than `MAX_LENGTH` characters, or nested beyond the interpreter's recursion limit, gets 0.1.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from boresight.tasks.countdown.answer import CLOSE, OPEN

FORMAT_REWARD = 0.1
TOLERANCE = 1e-5
MAX_LENGTH = 300
MAX_BITS = 16_384

_ALLOWED = re.compile(r"^[\d+\-*/().\s]+$")

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: lambda base, exponent: _power(base, exponent),
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def grade(completion: str, numbers: Sequence[int], target: int) -> tuple[float, str]:
    """Return `(reward, reason)`; the reward is 0, 0.1 or 1."""
    answer = last_answer_tag(completion)
    if answer is None:
        return 0.0, "there is no <answer>…</answer> on one line"
    try:
        value = _graded_value(answer, numbers)
        if abs(value - target) < TOLERANCE:
            return 1.0, "correct"
    except _Refused as refused:
        return FORMAT_REWARD, str(refused)
    except Exception as error:  # the public grader gives 0.1 for any error
        return FORMAT_REWARD, f"the answer has no value ({type(error).__name__})"
    return FORMAT_REWARD, "the value is not the target"


def last_answer_tag(completion: str) -> str | None:
    """Return the last match of `<answer>(.*?)</answer>`, stripped; None without a match. Takes linear time.

    The regular expression itself takes quadratic time on many unclosed tags. Matches neither cross lines nor
    overlap, so in the last line with a match, the last match starts at the first opening tag after the second
    to last closing tag that belongs to a match.
    """
    for line in reversed(completion.split("\n")):
        close = line.rfind(CLOSE)
        opened = line.rfind(OPEN, 0, close) if close >= 0 else -1
        if opened < 0:
            continue
        before = line.rfind(CLOSE, 0, opened)
        start = line.find(OPEN, before + len(CLOSE) if before >= 0 else 0)
        return line[start + len(OPEN) : line.find(CLOSE, start)].strip()
    return None


class _Refused(Exception):
    """The grade is 0.1 for a reason that is known."""


def _graded_value(answer: str, numbers: Sequence[int]) -> Any:
    if len(answer) > MAX_LENGTH:
        raise _Refused(f"the answer has more than {MAX_LENGTH} characters")
    if sorted(int(run) for run in re.findall(r"\d+", answer)) != sorted(numbers):
        raise _Refused("the digit runs are not the given numbers")
    if not _ALLOWED.match(answer):
        raise _Refused("a character is not allowed")
    return _value(ast.parse(answer, mode="eval").body)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left), _value(node.right))
    raise TypeError("calls and empty parentheses have no number")  # an error under eval too


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and exponent * base.bit_length() > MAX_BITS:
        raise _Refused(f"a power has more than {MAX_BITS} bits, which is not computed")
    return base**exponent
