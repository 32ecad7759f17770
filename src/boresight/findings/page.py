"""Read the page that explains each finding. It is in the package; `docs/check.md` is a link to it.

section("length-leak")         the section of a finding, as plain text
names()                        the names of all findings that have a section
is_finding("length-leek")      UserError: did you mean 'length-leak'?
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

from boresight.core.errors import UserError

FILE = "check.md"
PROSE = ("why-is-my-dpo-loss-flat", "a-study-diagnosed", "measured-on-your-model-and-data")
"""Anchors of the sections that belong to no finding."""


def section(name: str) -> str:
    """Return the section of the page on the finding `name`, without the markup of links.

    Raises:
        KeyError: no finding has this name.
    """
    return _sections()[name]


def is_finding(name: str) -> bool:
    """Whether a finding has this name.

    Raises:
        UserError: no finding has this name, but one with a similar name exists.
    """
    near = get_close_matches(name, names(), n=1, cutoff=0.8)
    if near and near != [name]:
        raise UserError(f"{name}: neither a run folder nor a finding; did you mean {near[0]!r}?")
    return bool(near)


def names() -> list[str]:
    """Return the names of all findings, in the order of the page."""
    return list(_sections())


@cache
def _sections() -> dict[str, str]:
    page = files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    parts = re.split(r"^(?=#{2,3} |<a id)", page, flags=re.MULTILINE)
    titled = (part.partition("\n") for part in parts if part.startswith("### "))
    found = {_anchor(title): _plain(text) for title, _, text in titled}
    return {name: text for name, text in found.items() if name not in PROSE}


def _anchor(heading: str) -> str:
    """Return the anchor of a heading, as it is written in links."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).strip().replace(" ", "-")


def _plain(markdown: str) -> str:
    """Replace links by their text; the markup of code and emphasis stays."""
    return re.sub(r"\[([^\[\]]+)\]\([^()]+\)", r"\1", markdown).strip()
