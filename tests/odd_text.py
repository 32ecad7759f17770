"""Text that breaks what takes every string for harmless: for data, answers, names and errors in tests."""

from __future__ import annotations

import re

ODD = (
    "\x00\x07\x1b[31m\x1b]0;title\x07\r\x7f\x9b2J\u202e\u2066\u2028\u2029\x85\x0b\x0c\ufeff\ue000\ufffe"
    "\U0010ffff\udfff\ud800"
)
"""NUL, bell, colors and titles of terminals, changes of direction, line ends of Unicode, a byte order mark,
private use, non-characters and lone surrogates."""
TEXT = ODD.replace("\udfff", "").replace("\ud800", "")
"""The same without lone surrogates, which are refused where a model would have to read them."""
TERMINAL = "\x00\x07\x1b\x7f\x9b\u202e\u2066\ud800"
"""Characters of `ODD` that must not reach a terminal."""


def as_returned(text: str) -> tuple[str, str]:
    """What playwright may return for a text of a page: in older versions lone surrogates are U+FFFD."""
    return text, re.sub("[\ud800-\udfff]", "\ufffd", text)
