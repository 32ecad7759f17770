"""Suggest the nearest known word for an unknown one: `did you mean 'beta'?`"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a phrase that suggests the nearest known word, or lists all known words if none is near.

    >>> nearest("bta", ["beta", "lr"])
    "; did you mean 'beta'?"
    >>> nearest("zzz", ["beta", "lr"])
    '; known: beta, lr'
    """
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "; known: " + ", ".join(sorted(known))
