"""Equations of the site as MathML, which browsers typeset themselves: no script, no fonts, no request.

A ```math fence is what GitHub shows as an equation, so the sources read well in both places.
"""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert

FENCE = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page before its Markdown is read."""
    return FENCE.sub(lambda found: f'<div class="equation">{typeset(found[1])}</div>', markdown)


def typeset(equation: str) -> str:
    """One equation as a block of MathML, on one line so that Markdown leaves it alone."""
    return " ".join(convert(equation.strip(), display="block").split())
