"""A client in a process of its own, for tests that kill it: run_to_be_killed.py URL LEDGER N OUT."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from boresight.llm.rate_limits import LimitSection
from tests.llm.helpers import requests, run


def main(url: str, ledger: str, count: str, out: str) -> None:
    """Ask `count` requests and write the replies in order."""
    limits = LimitSection(max_concurrency=32)
    replies, _ = run(url, Path(ledger), requests(url, int(count)), limits=limits, timeout=1.0)
    lines = [json.dumps([reply.text, reply.failure]) for reply in replies]
    Path(out).write_text("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
