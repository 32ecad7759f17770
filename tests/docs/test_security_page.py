"""Every promise of SECURITY.md names the tests that hold it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_promise_has_its_tests():
    promises = PAGE.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`(tests/[\w/.]+)`", row) for row in rows]
    assert len(rows) >= 10 and all(named)
    assert [path for paths in named for path in paths if not (ROOT / path).exists()] == []


def test_the_limits_are_those_of_the_code():
    from boresight.data.reading.compressed.expansion import ALLOWED, RATIO
    from boresight.data.rendering.sandbox.process import SECONDS
    from boresight.data.rendering.sandbox.worker import MEMORY

    assert f"{SECONDS:.0f} s of processor time, {MEMORY / 2**30:.0f} GiB of memory" in PAGE
    assert f"{ALLOWED / 2**20:.0f} MiB or {RATIO} times" in PAGE


def test_the_readme_leads_there():
    assert "`SECURITY.md`" in (ROOT / "README.md").read_text(encoding="utf-8")
