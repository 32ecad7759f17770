"""Sections: commands with a limit in seconds, of which one that fails or hangs does not stop the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILES = RESULTS, SUMMARY, LOG = "results.jsonl", "summary.txt", "log.txt"
WIDTH = 200
"""Characters of a line of the summary."""


@dataclass(frozen=True)
class Section:
    """A command that prints for people, and may write an object of numbers to `{json}`.

    Args:
        limit: seconds that it may take; more where earlier sections took less than theirs.
        tail: lines of its output that the summary shows.
    """

    name: str
    limit: float
    command: tuple[str, ...]
    tail: int = 12


@dataclass
class Session:
    """Runs sections one after the other within `seconds`.

    Args:
        out: folder of the results.
        work: folder for what the sections share, and for the numbers that they write.
        patience: factor on all limits, for a machine that is slower than the one they were set for.
    """

    out: Path
    work: Path
    seconds: float
    patience: float = 1.0
    failed: bool = False
    started: float = field(default_factory=time.monotonic)

    def run(self, section: Section, later: float = 0.0) -> dict[str, Any]:
        """Run a section and append its result; `later` seconds are kept for those after it."""
        numbers = self.work / f"{section.name}.json"
        left = self.seconds * self.patience - (time.monotonic() - self.started)
        limit = min(left, max(section.limit * self.patience, left - later * self.patience))
        began = time.monotonic()
        if limit < 1:
            status, output = "not run: no time is left", ""
        else:
            command = [part.replace("{json}", str(numbers)) for part in section.command]
            status, output = run_limited(command, limit, self.work / f"{section.name}.log")
        result = {
            "section": section.name,
            "status": status,
            "seconds": round(time.monotonic() - began, 1),
            "limit": round(limit, 1),
            "tail": [line[:WIDTH] for line in output.splitlines() if line.strip()][-section.tail :],
            "numbers": _numbers(numbers),
        }
        self.failed |= status != "ok"
        with (self.out / RESULTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        with (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(f"=== {section.name}: {status}\n$ {' '.join(section.command)}\n{output}\n")
        print(headline(result), flush=True)
        return result


def run_limited(command: list[str], limit: float, log: Path) -> tuple[str, str]:
    """Status (`ok` or what went wrong) and output of a command, which is ended with all its children."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit)
            status = "ok" if code == 0 else f"failed: exit status {code}"
        except subprocess.TimeoutExpired:
            status = f"failed: stopped after {limit:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return status, log.read_text(encoding="utf-8", errors="replace")


def _numbers(path: Path) -> Any:
    """What the section wrote, whole or so far; None where there is nothing to read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def headline(result: dict[str, Any]) -> str:
    """One line of a section."""
    return f"{result['section']:<18} {result['seconds']:>6} s of {result['limit']:>6}   {result['status']}"


def write_summary(out: Path, title: str) -> None:
    """Status of every section so far, and the last lines that each printed."""
    lines = (out / RESULTS).read_text(encoding="utf-8").splitlines()
    results = [json.loads(line) for line in lines]
    failed = [result["section"] for result in results if result["status"] != "ok"]
    parts = [
        f"{title}: {len(results)} sections, {len(failed)} failed" + ": " * bool(failed) + ", ".join(failed)
    ]
    parts += [headline(result) for result in results]
    for result in results:
        parts += ["", f"=== {result['section']}: {result['status']}", *result["tail"]]
    (out / SUMMARY).write_text("\n".join(parts) + "\n", encoding="utf-8")
