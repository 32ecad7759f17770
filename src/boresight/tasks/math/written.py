"""Normalize the spelling of an answer, and refuse text that cannot be a reasonable answer.

Refused text is not passed to a parser: unusual characters, such as digits of other scripts, text of more than
`MAX_LENGTH` characters, deep nesting, and powers and factorials that are too large to compute.
"""

from __future__ import annotations

import re

MAX_LENGTH = 300
"""Maximum length of an answer, in characters.

The longest answers in public data sets, matrices and lists, have about 200.
"""
MAX_DEPTH = 12
"""Maximum depth of nested braces, brackets and parentheses."""

_SPELLINGS = {
    "\\frac": ["\\dfrac", "\\tfrac", "\\cfrac"],
    "": ["\\left", "\\right", "\\!", "\\(", "\\)", "\\[", "\\]"],
    " ": ["~", "\u202f"],
    "$": ["\\$"],
    "%": ["\\%"],
    "°": ["^\\circ", "^{\\circ}", "\\degree"],
    ",": ["{,}"],
    "'": ["’"],
    "*": ["×", "·", "⋅"],
    "/": ["÷"],
    "-": ["−", "–"],
    "^": ["**"],
    "^2": ["²"],
    "^3": ["³"],
    " 1/2": ["½"],
    " 1/4": ["¼"],
    " 3/4": ["¾"],
}
_SPACE = re.compile(r"(?<!\\)\\(?:[,;: ]|quad(?![A-Za-z]))")
_ALLOWED = re.compile(r"[ -~\n\t°$€£¥π√∞≤≥≠±∪∩∅∈]*")
_TOO_LARGE = re.compile(
    r"\^\s?\{?\s?-?\d{5}"  # an exponent of five digits
    r"|\^\s?\{?\s?-?\d{1,4}\s?\}?\s?\^"  # a power of a power of a number
    r"|\d{4}\s?!|!\s?!"  # a factorial of four digits, or of a factorial
    r"|\\binom\s?\{\s?\d{4}|\\(?:int|sum|prod|lim|Gamma|zeta)(?![A-Za-z])"
)


def cleaned(text: str) -> str | None:
    """Return the answer in normalized spelling; None if it is refused."""
    if len(text) > MAX_LENGTH:
        return None
    text = text.strip(" *`\n\t")  # bold, before ** is a power
    for plain, spellings in _SPELLINGS.items():
        for spelling in spellings:
            text = text.replace(spelling, plain)
    text = _SPACE.sub(" ", text)
    text = " ".join(text.split()).lstrip(" ,;:*`_").rstrip(" .,;:*`_")
    if text.count("$") == 2 and text[:1] == text[-1:] == "$":
        text = text.strip("$ ")
    fine = (
        text.count("{") == text.count("}")
        and _ALLOWED.fullmatch(text)
        and _depth(text) <= MAX_DEPTH
        and not re.search(r"\d{61}", text)
    )
    return text if fine and text and not _TOO_LARGE.search(text) else None


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "({[") - (character in ")}]")
        deepest = max(deepest, depth)
    return deepest
