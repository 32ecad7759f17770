"""Parse JSON from servers and models, out of bytes or prose, bounded in depth and time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from boresight.llm.replies.failures import one_line, unreadable

DEEPEST = 100
"""Maximum depth of nested brackets in a body; Python's JSON reader and writer fail at about a thousand."""
EXCERPT = 120
"""Number of characters of an unreadable body that an error quotes."""
LONGEST_REPLY = 200_000
"""Number of characters at the end of a model's text that are searched for JSON."""
MOST_STARTS = 200
"""Maximum number of opening braces that are tried as the beginning of an object."""
REASONING_ENDS = re.compile(r"</(?:think|thinking|thought|reasoning)>|<\|channel\|>final<\|message\|>")
REASONING_BEGINS = re.compile(r"\s*<(?:think|thinking|thought|reasoning)>")


def parse_body(content: bytes | str) -> dict[str, Any]:
    """Parse a body that must be a JSON object.

    Raises:
        RequestFailure: of the kind `invalid_json`, if the body is not UTF-8, not JSON, nested too deeply, or
            not an object.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise unreadable(f"the body is not UTF-8 (byte {error.start}): {content[:EXCERPT]!r}") from None
    try:
        body = json.loads(text)
    except RecursionError:
        raise _too_deep(text) from None
    except ValueError:  # also for a number of thousands of digits
        raise unreadable(f"the body is no JSON: {text[:EXCERPT]!r}") from None
    if not isinstance(body, dict):
        raise unreadable(f"the body is no JSON object: {text[:EXCERPT]!r}")
    if is_deep(body):
        raise _too_deep(text)
    return body


def _too_deep(text: str) -> Exception:
    return unreadable(f"the body is nested deeper than {DEEPEST} brackets: {text[:EXCERPT]!r}")


def is_deep(value: object) -> bool:
    """Return whether a JSON value is nested deeper than `DEEPEST` levels."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [list(v.values()) if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [item for items in inner for item in items]
        if not level:
            return False
    return True


def after_reasoning(text: str) -> str:
    """Return the answer after the model's reasoning: the text after its last `</think>`.

    The answer is '' if the text begins with reasoning that is not closed.

    >>> after_reasoning("<think>maybe 1</think>2")
    '2'
    """
    if ends := list(REASONING_ENDS.finditer(text)):
        return text[ends[-1].end() :]
    return "" if REASONING_BEGINS.match(text) else text


def extract_json(text: str) -> list[object]:
    """Return the JSON objects in a model's text, in order, without its reasoning and other surrounding text.

    >>> extract_json('<think>{"a": 0}?</think> Sure: {"a": [1, 2]} as you asked')
    [{'a': [1, 2]}]

    Raises:
        ValueError: there is none; the message is written for the model.
    """
    said = after_reasoning(text)[-LONGEST_REPLY:]
    problem = "there is no JSON object in it"
    found = []
    for value in _objects(said):
        if isinstance(value, str):
            problem = value
        else:
            found.append(value)
    if not found:
        raise ValueError(problem)
    return found


def _objects(text: str) -> Iterator[object]:
    """Iterate over the outermost JSON objects in a text.

    A brace that does not begin a valid object yields the reason as a string instead.
    """
    decoder = json.JSONDecoder()
    place = text.find("{")
    for _ in range(MOST_STARTS):
        if place < 0:
            return
        end = place + 1
        try:
            value, end = decoder.raw_decode(text, place)
            yield "the JSON is nested too deeply" if is_deep(value) else value
        except RecursionError:
            yield "the JSON is nested too deeply"
        except json.JSONDecodeError as error:
            at = error.pos - place
            yield f"the JSON breaks off or is wrong at character {at}: {one_line(error.msg)}"
        except ValueError as error:
            yield one_line(str(error))
        place = text.find("{", end)
