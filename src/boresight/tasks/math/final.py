r"""Extract the final answer from a completion.

The answer is the first of these that occurs: the last `\boxed{…}`, the rest of the line after the last
`####`, the last `<answer>…</answer>`, the text after the last "answer is" or "answer:", and a completion that
is one short line. Only one of them is read, so that several guesses are no better than one; if the last box
or tag is not closed, there is no answer. Reasoning is ignored.
"""

from __future__ import annotations

import re

from boresight.tasks.text.gold import MARK
from boresight.tasks.text.parts import tagged, without_thought

BOXES = ("\\boxed{", "\\fbox{")
SHORT = 60
"""Maximum length of a completion that is an answer without a marker, in characters."""
_PHRASE = re.compile(r"\banswer(?: is|:| =)[ *:]*", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![\w.,])[-−]?(?:[$€£] ?)?[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?(?!\d|[.,]\d)%?", re.ASCII
)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")


def final_answer(completion: str) -> str | None:
    """Return the final answer; None if there is no marker, or the last one is not closed."""
    text = without_thought(completion)
    if any(box in text for box in BOXES):
        return boxed(text)
    if MARK in text:
        return text.rpartition(MARK)[2].lstrip().partition("\n")[0]
    if "<answer>" in text:
        return tagged(text, "answer")
    found = [match.end() for match in _PHRASE.finditer(text)]
    if found:
        return _SENTENCE_END.split(text[found[-1] :].partition("\n")[0], maxsplit=1)[0]
    text = text.strip()
    return text if len(text) <= SHORT and "\n" not in text else None


def last_number(completion: str) -> str | None:
    """Return the last number of a completion, with its currency or percent sign; None if there is none."""
    numbers = _NUMBER.findall(without_thought(completion))
    return numbers[-1] if numbers else None


def boxed(text: str) -> str | None:
    r"""Return the content of the last `\boxed{…}`; None if its braces are not closed."""
    start = max(text.rfind(box) + len(box) if box in text else -1 for box in BOXES)
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if text[end] == "\\" or (end > start and text[end - 1] == "\\"):
            depth -= {"{": 1, "}": -1}.get(text[end], 0)  # \{ and \} are the braces of a set
        if depth == 0:
            return text[start:end]
    return None
