"""Suggest the nearest known word for an unknown one: `did you mean 'beta'?`"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], section: str = "") -> str:
    """Return a phrase that suggests the nearest known word, or lists all known words if none is near.

    A suggestion begins with `section` and a dot, if it is given.

    >>> nearest("bta", ["beta", "lr"])
    "; did you mean 'beta'?"
    >>> nearest("bta", ["beta", "lr"], "method")
    "; did you mean 'method.beta'?"
    >>> nearest("zzz", ["beta", "lr"])
    '; known: beta, lr'
    """
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not close:
        return "; known: " + ", ".join(sorted(known))
    suggested = f"{section}.{close[0]}" if section else close[0]
    return f"; did you mean {suggested!r}?"
