"""Compare answers: exact numbers in this process, everything else by math-verify in a worker process."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.plugins import is_installed
from boresight.tasks.math import worker
from boresight.tasks.math.quantity import quantity

SECONDS = 5.0
"""Maximum duration of one comparison, in seconds; then the worker is killed."""
START_SECONDS = 120.0

_LEFT_TO_DO = re.compile(r"[\d)}]\s?[-+*/]|\\(?:times|cdot|div|pm)|[,;=<>∪]|\b(?:or|and)\b")
"""Pattern of text that is not a plain number: arithmetic to be done, several answers, or an equation."""
_SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?\s?(?:\\times|\\cdot|\*)\s?10\s?\^\s?\{?-?\d{1,4}\}?")
_LETTERS, _THREE_LETTERS = re.compile(r"[A-Za-z' -]+"), re.compile(r"[A-Za-z]{3}")
_E_NOTATION = re.compile(r"\d[eE][-+]?\d")
_NAMES = re.compile(r"\\(?:begin|end|text|textbf|textrm|mathrm|mathbf|operatorname|mbox|hbox)\s?\{[^{}]*\}")
_LONG_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4}")


def require_math_verify() -> None:
    """Raise a `UserError` if the package math-verify is not installed."""
    if not is_installed("math_verify"):
        raise UserError("reward math: needs the package math-verify; run `pip install 'boresight[math]'`.")


def can_be_gold(gold: str | None) -> bool:
    """Return whether a normalized gold answer looks like mathematics; words without a formula do not."""
    if gold is None or _is_words(gold) or not re.search(r"[\dA-Za-z∅∞π]", gold):
        return False
    return quantity(gold) is not None or not _LONG_WORD.search(_NAMES.sub("", gold))


def equal(gold: str, answer: str | None) -> bool | None:
    """Return whether a normalized answer equals a normalized gold answer for which `can_be_gold` is True.

    None if the gold answer cannot be parsed, or if the two cannot be compared within the time limit.
    """
    if answer is None:
        return False
    expected, found = quantity(gold), quantity(answer)
    if expected is not None and found is not None:
        return found.equals(expected)
    undone = _LEFT_TO_DO.search(answer.lstrip("-+")) and not _SCIENTIFIC.fullmatch(answer)
    if expected is not None and (undone or _is_words(answer)):
        return False
    if expected is not None and _E_NOTATION.search(gold):
        gold = str(expected.value)  # 1e-05 is not LaTeX
    return _by_math_verify(gold, answer)


def _is_words(text: str) -> bool:
    """Return whether a text is one or several words, and not a product of two variables."""
    if not _LETTERS.fullmatch(text):
        return False
    return text.lower() == "no" or _THREE_LETTERS.search(text) is not None


@lru_cache(maxsize=4096)
def _by_math_verify(gold: str, answer: str) -> bool | None:
    reply = WORKER.ask({"gold": gold, "answer": answer})
    if reply is None or "error" in reply:
        return None if reply is None or not WORKER.reads(gold) else False
    return bool(reply["equal"]) if reply["gold"] else None


class Worker:
    """Handle of the worker process.

    The process is started when it is first needed, and again after it was killed.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        self._lock = threading.Lock()

    def ask(self, question: dict[str, str]) -> dict[str, Any] | None:
        """Send a comparison to the worker and return its reply; None after the time limit or an error."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            assert self._process is not None and self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps(question) + "\n")
                self._process.stdin.flush()
                reply: dict[str, Any] = json.loads(self._lines.get(timeout=SECONDS))
            except (queue.Empty, OSError, ValueError):
                self.stop()
                return None
            return reply

    def reads(self, gold: str) -> bool:
        """Return whether math-verify can parse a gold answer."""
        reply = self.ask({"gold": gold, "answer": gold})
        return bool(reply and reply.get("gold"))

    def stop(self) -> None:
        """Kill the worker, if it is running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(worker.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env=env,
        )
        self._lines = queue.Queue()
        threading.Thread(target=_forward, args=(self._process, self._lines), daemon=True).start()
        first = ""
        with contextlib.suppress(queue.Empty):
            first = self._lines.get(timeout=START_SECONDS)
        if not first:
            self.stop()
            raise UserError("reward math: math-verify does not start; try `python -c 'import math_verify'`.")


def _forward(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):
        for line in process.stdout:
            lines.put(line)
    lines.put("")  # end of the output; it is not JSON


WORKER = Worker()
atexit.register(WORKER.stop)
