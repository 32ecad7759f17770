"""Compare answers by math-verify: one JSON line in, one out. A script that imports nothing of boresight.

It runs in a process of its own because the parser may take unlimited time or memory: `9^{9^9}` is one call
into C that no signal interrupts, and math-verify's own time limit is a signal, which works in main threads
only.
"""

from __future__ import annotations

import json
import logging
import sys

MEMORY = 4 * 2**30
"""Limit of the address space, bytes."""


def compare_lines() -> None:
    """Read `{"gold", "answer"}` and write `{"gold": readable, "equal": …}` for each line until the input
    ends."""
    logging.disable(logging.CRITICAL)
    _limit_memory()
    replies, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no reply
    from math_verify import LatexExtractionConfig, parse, verify

    latex = [LatexExtractionConfig()]
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            gold = parse(f"${asked['gold']}$", latex, fallback_mode="no_fallback", parsing_timeout=None)
            answer = parse(f"${asked['answer']}$", latex, fallback_mode="no_fallback", parsing_timeout=None)
            readable = [bool(gold), bool(answer)]
            equal = all(readable) and verify(gold, answer, allow_set_relation_comp=True, timeout_seconds=None)
        except (Exception, MemoryError) as error:
            reply: dict[str, object] = {"error": type(error).__name__}
        else:
            reply = {"gold": readable[0], "equal": bool(equal)}
        print(json.dumps(reply), file=replies, flush=True)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard < 0 else min(MEMORY, hard), hard))


if __name__ == "__main__":
    compare_lines()
