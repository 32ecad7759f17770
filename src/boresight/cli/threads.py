"""Limit how long idle threads of the arithmetic library spin before they sleep.

GNU's OpenMP lets idle threads spin for milliseconds by default. If another process is busy, they then take
time of a core that a working thread needs: with one competitor on two cores, 768 x 576 x 1536 products ran at
25 GF/s by default and at 39 GF/s with a short spin (82 instead of 50 GF per CPU second, 2026-11-23).
"""

from __future__ import annotations

import os

SPINS = "10000"


def set_wait_policy() -> None:
    """Shorten the spinning of idle threads, unless the user has set `OMP_WAIT_POLICY` or `GOMP_SPINCOUNT`.

    This has an effect only before torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
