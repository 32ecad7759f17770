"""Instructions on format and content: bullets, highlights, sections, titles, JSON, placeholders."""

from __future__ import annotations

import json
import re

RESPONSES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")

BULLET = re.compile(r"^[^\S\n]*\*[^*].*$", re.MULTILINE)
"""Pattern of a line that begins with a single star.

If a line break follows the star, the next line is part of the match.
"""
DASH = re.compile(r"^[^\S\n]*-", re.MULTILINE)
"""Pattern of the beginning of a line with a dash; a horizontal rule `---` matches too."""

HIGHLIGHT = re.compile(r"\*([^\n*]*)\*")
DOUBLE_HIGHLIGHT = re.compile(r"\*\*([^\n*]*)\*\*")

POSTSCRIPTS = {"P.S.": re.compile(r"p\.\s?s\."), "P.P.S": re.compile(r"p\.\s?p\.\s?s")}

FENCES = ("```json", "```Json", "```JSON", "```")
"""Openings of a code block, removed in this order."""


def has_bullets(text: str, *, num_bullets: int) -> bool:
    """Whether exactly `num_bullets` lines begin with `*` or `-`."""
    return len(BULLET.findall(text)) + len(DASH.findall(text)) == num_bullets


def has_highlights(text: str, *, num_highlights: int) -> bool:
    """Whether at least `num_highlights` passages within a line are between stars, `*so*` or `**so**`."""
    marked = HIGHLIGHT.findall(text) + DOUBLE_HIGHLIGHT.findall(text)
    return sum(bool(passage.strip()) for passage in marked) >= num_highlights


def has_sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    """Whether there are at least `num_sections` headings, such as `SECTION 1`."""
    return _headings(section_spliter, text) >= num_sections


def has_title(text: str) -> bool:
    """Whether a line contains a title between double angular brackets, `<<so>>`."""
    return any(_title(line) for line in text.split("\n"))


def has_placeholders(text: str, *, num_placeholders: int) -> bool:
    """Whether at least `num_placeholders` placeholders are between square brackets within a line, `[so]`."""
    return sum(map(_placeholders, text.split("\n"))) >= num_placeholders


def has_postscript(text: str, *, postscript_marker: str) -> bool:
    """Whether the marker occurs, ignoring case; `P.S.` and `P.P.S` also with blanks between the letters."""
    lower, pattern = text.lower(), POSTSCRIPTS.get(postscript_marker)
    return pattern.search(lower) is not None if pattern else postscript_marker.lower() in lower


def is_json(text: str) -> bool | None:
    """Whether the text is JSON, possibly inside a code block.

    None if it is nested too deeply to be parsed.
    """
    bare = text.strip()
    for fence in FENCES:
        bare = bare.removeprefix(fence)
    try:
        json.loads(bare.removesuffix("```").strip(), parse_int=str)  # avoids Python's digit limit
    except RecursionError:
        return None
    except ValueError:
        return False
    return True


def is_constrained_response(text: str) -> bool:
    """Whether one of the three permitted answers occurs."""
    return any(response in text for response in RESPONSES)


def _headings(phrase: str, text: str) -> int:
    return len(re.findall(re.escape(phrase) + r"\s?\d+", text))


def _title(line: str) -> str:
    """Return the title in a line, from its first `<<` to its last `>>`; "" without one."""
    start, end = line.find("<<"), line.rfind(">>")
    return line[start : end + 2].lstrip("<").rstrip(">").strip() if start >= 0 else ""


def _placeholders(line: str) -> int:
    """Return the number of closed brackets; a bracket ends at the first `]` after its `[`."""
    count, start = 0, line.find("[")
    while start >= 0 and (end := line.find("]", start)) >= 0:
        count, start = count + 1, line.find("[", end)
    return count
