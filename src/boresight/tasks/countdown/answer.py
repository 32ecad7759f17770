"""Parse the answer in a completion, which is untrusted text.

Training rewards a policy for exploiting errors of the parser. Therefore an answer must pass five checks in
this order, each cheap and none with `eval`: the last `<answer>` of the completion, a maximum length, a set of
characters, a maximum nesting depth, and a walk over the syntax tree that accepts four operations and whole
numbers. Values are exact rationals. The limits bound the time to well below a millisecond, whatever the text.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

OPEN, CLOSE = "<answer>", "</answer>"
MAX_LENGTH = 200
"""Maximum length of an answer, in characters.

Six numbers with their operators and parentheses need about 40.
"""
MAX_DEPTH = 20
"""Maximum depth of nested parentheses."""

TURN_MARKS = (
    "<|im_start|>",
    "\nAssistant:",
    "return the final answer in <answer> </answer> tags, for example",
)
"""Texts that occur only in prompts.

The public prompts contain an example answer, which must not be graded.
"""

SYMBOLS = {"×": "*", "÷": "/", "−": "-"}
BLANKS = " \t\r\n"
_PLAIN = str.maketrans({**SYMBOLS, **dict.fromkeys(BLANKS, " ")})
_FOREIGN = re.compile(r"[^0-9+\-*/() ]")
_LEADING_ZERO = re.compile(r"(?<![0-9])0[0-9]")

OPERATIONS: dict[type[ast.operator], Callable[..., int | Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: Fraction,
}
REFUSED: dict[type[ast.AST], str] = {
    ast.Pow: "** (a power) is not one of + - * /",
    ast.FloorDiv: "// (division that drops the remainder) is not one of + - * /",
    ast.UnaryOp: "a sign in front of a number is not one of the four operations, which join two numbers",
    ast.Call: "an operator is missing in front of a parenthesis",
    ast.Tuple: "a pair of parentheses is empty",
}


class Unreadable(Exception):
    """The completion has no answer of the required form; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class CountdownAnswer:
    """An expression of whole numbers, `+ - * /` and parentheses.

    Attributes:
        expression: the expression as text.
        value: exact value; None if the expression divides by zero.
        numbers: the numbers in the expression, from left to right.
        claim: the number after a trailing `=`; None without one.
        notes: accepted deviations from the required form.
    """

    expression: str
    value: int | Fraction | None
    numbers: tuple[int, ...]
    claim: int | None
    notes: tuple[str, ...]


def read_answer(completion: str) -> CountdownAnswer:
    """Parse and evaluate the answer in a completion.

    Raises:
        Unreadable: there is no answer of the required form.
    """
    text = last_answer(completion)
    plain = text.translate(_PLAIN)
    expression, equals, claim = (part.strip(" ") for part in plain.partition("="))
    if equals and not (claim.isascii() and claim.isdigit()):
        raise Unreadable("'=' may only be followed by the target, at the end")
    _check_form(expression)
    numbers: list[int] = []
    tree = _parse(expression)
    try:
        value = _value(tree, numbers)
    except ZeroDivisionError:
        value = None
        numbers = [int(digits) for digits in re.findall(r"[0-9]+", expression)]
    read_as = [f"{symbol} read as {plain}" for symbol, plain in SYMBOLS.items() if symbol in text]
    notes = (*read_as, *([f"'= {claim}' left out"] if equals else []))
    return CountdownAnswer(expression, value, tuple(numbers), int(claim) if equals else None, notes)


def last_answer(completion: str) -> str:
    """Return the content of the last `<answer>…</answer>`, stripped; it may span lines.

    Raises:
        Unreadable: there are no such tags, the last one is not closed, the answer is empty or too long, or
            the text is a whole conversation.
    """
    for mark in TURN_MARKS:
        if mark in completion:
            raise Unreadable(f"the text holds {mark!r}, so it is more than one completion; pass that alone")
    start = completion.rfind(OPEN)
    if start < 0:
        raise Unreadable("there is no <answer>")
    end = completion.find(CLOSE, start)
    if end < 0:
        raise Unreadable("the last <answer> is not closed")
    text = completion[start + len(OPEN) : end].strip(BLANKS)
    if not text:
        raise Unreadable("the answer is empty")
    if len(text) > MAX_LENGTH:
        raise Unreadable(f"the answer has {len(text)} characters, more than {MAX_LENGTH}")
    return text


def _check_form(expression: str) -> None:
    """Check the characters, the leading zeros and the nesting of an expression before it is parsed.

    Raises:
        Unreadable: a check fails.
    """
    foreign = _FOREIGN.search(expression)
    if foreign:
        raise Unreadable(f"{foreign[0]!r} is not a digit, + - * / or a parenthesis")
    if _LEADING_ZERO.search(expression):
        raise Unreadable("a number starts with a zero")
    depth = deepest = 0
    for character in expression:
        if character == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif character == ")":
            depth -= 1
            if depth < 0:
                break
    if depth:
        raise Unreadable("the parentheses do not match")
    if deepest > MAX_DEPTH:
        raise Unreadable(f"parentheses nest {deepest} deep, more than {MAX_DEPTH}")


def _parse(expression: str) -> ast.expr:
    try:
        return ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Unreadable("the answer is not an arithmetic expression") from None


def _value(node: ast.AST, numbers: list[int]) -> int | Fraction:
    """Return the exact value of a syntax tree, and append its numbers to `numbers` from left to right."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        numbers.append(node.value)
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
        left = _value(node.left, numbers)
        return OPERATIONS[type(node.op)](left, _value(node.right, numbers))
    culprit = node.op if isinstance(node, ast.BinOp) else node
    raise Unreadable(REFUSED.get(type(culprit), "the answer is not an arithmetic expression"))
