"""A chat template, rendered in a process of its own that can be ended.

A template comes with a model and is a program: `{% for %}` in `{% for %}`, or a string that doubles, runs for
hours or fills the memory, and nothing in this process could stop it. The process starts with the first
template that needs it (half a second), serves all of them, and ends with this one. It has none of the
environment's secrets, starts outside the current folder, and is sent and sends JSON.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any, cast

SECONDS = 10.0
"""Processor time of one rendering; usual ones take less than a millisecond."""
LONGEST = 2**26
"""Characters of one rendering."""
KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "HOME", "TZ", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
"""Variables of the environment that the process is given: no keys."""


class RenderingFailed(Exception):
    """The template cannot render the messages, or exceeds its limits; the message is the reason."""


class TemplateProcess:
    """A process that renders templates, started when it is first needed, and again after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._over: dict[str, str] = {}

    def render(self, template: str, messages: list[Any], options: dict[str, Any]) -> str:
        """The text, as `worker.render` writes it.

        A template that has exceeded its limits once is not rendered again.

        Raises:
            RenderingFailed: with the template's reason, or the limit that was exceeded.
        """
        request = {"template": template, "messages": messages, "options": options}
        line = json.dumps(request | {"seconds": SECONDS, "longest": LONGEST}, default=_placeholder)
        with self._lock:
            if template in self._over:
                raise RenderingFailed(self._over[template])
            answer = self._exchange(line.encode() + b"\n")
            if not answer:
                self._over[template] = self._why_ended()
                raise RenderingFailed(self._over[template])
        reply = json.loads(answer)
        if "refused" in reply:
            raise RenderingFailed(reply["refused"])
        return str(reply["text"])

    def stop(self) -> int | None:
        """End the process; returns its exit code, None if there is none."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return None
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                cast("IO[bytes]", stream).close()
        if process.poll() is None:
            process.kill()
        return process.wait()

    def _exchange(self, line: bytes) -> bytes:
        """Send a request and wait for the reply; empty where the process ended."""
        process = self._started()
        try:
            cast("IO[bytes]", process.stdin).write(line)
            cast("IO[bytes]", process.stdin).flush()
            return cast("IO[bytes]", process.stdout).readline()
        except BrokenPipeError:
            return b""
        except BaseException:  # interrupted: the reply to come is that of another request
            self.stop()
            raise

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._process, self._owner = _start(), os.getpid()
        return self._process

    def _why_ended(self) -> str:
        process = cast("subprocess.Popen[bytes]", self._process)
        cast("IO[bytes]", process.stdout).close()
        code = process.wait()  # its stdout is closed: it has ended or is about to
        self._process = None
        if code == -signal.SIGPROF:
            return f"takes more than {SECONDS:g} s of processor time"
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"ended the process that renders it ({how})"


def _start() -> subprocess.Popen[bytes]:
    """In a session of its own, which Ctrl-C does not reach, and with no file of the current folder (`-P`)."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    ours = str(Path(__file__).parents[4])
    kept["OMP_NUM_THREADS"] = "1"  # each thread of a numerical library takes address space
    kept["PYTHONPATH"] = os.pathsep.join([ours, *filter(None, [kept.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "boresight.data.rendering.sandbox.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=kept,
        start_new_session=True,
    )


def _placeholder(value: object) -> str:
    """The value that transformers passes to a template in place of one that is not JSON."""
    return f"<{type(value).__name__}>"


PROCESS = TemplateProcess()
atexit.register(PROCESS.stop)
