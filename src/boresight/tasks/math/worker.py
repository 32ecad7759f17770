"""Script that compares answers by math-verify: one JSON line in, one JSON line out.

It runs in a separate process because the parser may take unlimited time or memory: `9^{9^9}` is one call into
C that no signal interrupts, and math-verify's own time limit is a signal, which only works in a main thread.
The script imports nothing from boresight.
"""

from __future__ import annotations

import json
import logging
import sys

MEMORY = 4 * 2**30
"""Maximum address space, in bytes."""


def compare_lines() -> None:
    """Answer requests until the input ends.

    Reads `{"gold": …, "answer": …}` per line and writes `{"gold": …, "equal": …}`, where `gold` is whether
    the gold answer can be parsed; or `{"error": …}`.
    """
    logging.disable(logging.CRITICAL)
    _limit_memory()
    replies, sys.stdout = sys.stdout, sys.stderr  # output of libraries must not mix with replies
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
