"""Render chat templates in a separate process that can be terminated.

A template comes with a model and is a program: nested loops, or a string that doubles, can run for hours or
exhaust the memory, and could not be stopped in this process. The separate process starts with the first
template that needs it (half a second), renders all later ones, and ends with this process. It receives no
secrets from the environment, imports no file of the current folder, and exchanges JSON with this process.
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
"""Maximum processor time of one rendering, in seconds; usual ones take less than a millisecond."""
LONGEST = 2**26
"""Maximum length of one rendering, in characters."""
KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "HOME", "TZ", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
"""Environment variables that are passed to the process; secrets are not."""


class RenderingFailed(Exception):
    """The template cannot render the messages, or exceeds a limit; the message is the reason."""


class TemplateProcess:
    """Handle of a process that renders templates.

    The process is started when it is first needed, and again after a fork or after it has ended.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._over: dict[str, str] = {}

    def render(self, template: str, messages: list[Any], options: dict[str, Any]) -> str:
        """Render messages with a template in the process, as `worker.render` does.

        A template that has ended the process once, such as by its time limit, is not rendered again.

        Raises:
            RenderingFailed: the template raises, or a limit is exceeded.
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
        """Kill the process and return its exit code; None if there is no process."""
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
        """Send a request and return the reply; empty if the process has ended."""
        process = self._started()
        try:
            cast("IO[bytes]", process.stdin).write(line)
            cast("IO[bytes]", process.stdin).flush()
            return cast("IO[bytes]", process.stdout).readline()
        except BrokenPipeError:
            return b""
        except BaseException:  # interrupted: the next request must not read this reply
            self.stop()
            raise

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._process, self._owner = _start(), os.getpid()
        return self._process

    def _why_ended(self) -> str:
        process = cast("subprocess.Popen[bytes]", self._process)
        cast("IO[bytes]", process.stdout).close()
        code = process.wait()  # it closed its stdout, so it has ended or will soon
        self._process = None
        if code == -signal.SIGPROF:
            return f"takes more than {SECONDS:g} s of processor time"
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"ended the process that renders it ({how})"


def _start() -> subprocess.Popen[bytes]:
    """Start the process in a new session, which Ctrl-C does not reach.

    With `-P`, Python imports no file of the current folder.
    """
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
    """Return the text that is sent in place of a value that is not JSON."""
    return f"<{type(value).__name__}>"


PROCESS = TemplateProcess()
atexit.register(PROCESS.stop)
