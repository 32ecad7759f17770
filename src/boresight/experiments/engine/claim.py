"""Assign jobs to workers: one file per attempt, created by a hard link, which is atomic on shared disks too.

    trials/03-seed0/claim-1     host and process; touched every few seconds while its worker lives
    trials/03-seed0/claim-2     another worker took over

A worker takes over a job by creating the claim file with the next number, which only one worker can do. The
worker with the older claim detects this at its next line of metrics and stops. Ages of claims are measured by
the clock of the file system, so the clocks of the machines need not agree.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from boresight.core.files import create_state, read_state

SILENCE_SECONDS = 120.0
"""Age of a claim, in seconds, at which its worker on another machine counts as dead."""
RELEASED = 0.0
"""Modification time of a released claim, which does not count as an attempt."""


class TakenOver(Exception):
    """Raised in a worker when another worker has taken over its job: it must stop."""


@dataclass(frozen=True)
class Claim:
    """A job held by this process. `lost` counts earlier attempts whose worker died."""

    path: Path
    number: int
    lost: int

    @property
    def held(self) -> bool:
        """Whether no other worker has taken over."""
        return not self.path.with_name(f"claim-{self.number + 1}").exists()

    def release(self) -> None:
        """Give the job back, so that another worker continues it at once."""
        os.utime(self.path, (RELEASED, RELEASED))

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Touch the claim regularly inside the block, as the sign that its worker is alive."""
        over = threading.Event()
        thread = threading.Thread(target=self._touch, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _touch(self, over: threading.Event) -> None:
        while not over.wait(SILENCE_SECONDS / 12):
            with suppress(OSError):  # the file system may be unavailable for a moment
                os.utime(self.path)


class NoClaim:
    """Claim for a folder that has only one worker: always held, without a file."""

    held = True
    lost = 0

    def release(self) -> None:
        """Do nothing."""

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Do nothing."""
        yield


def take(folder: Path) -> Claim | None:
    """Claim the job in `folder`; return the claim, or None if another worker has the job."""
    folder.mkdir(parents=True, exist_ok=True)
    made = claims(folder)
    if made and not _is_over(made[-1]):
        return None
    path = folder / f"claim-{len(made) + 1}"
    if not create_state(path, _identity()):
        return None
    return Claim(path, len(made) + 1, sum(claim.stat().st_mtime != RELEASED for claim in made))


def claims(folder: Path) -> list[Path]:
    """Return the paths of the claims on the job in `folder`, oldest first."""
    return sorted(folder.glob("claim-*"), key=lambda path: int(path.name.removeprefix("claim-")))


def _is_over(claim: Path) -> bool:
    touched = claim.stat().st_mtime
    if touched == RELEASED:
        return True
    holder = read_state(claim, "delete it if no other worker is running")
    here = _identity()
    if holder["host"] == here["host"]:
        return _started(holder["process"]) != holder["started"]
    return _now(claim.parent) - touched > SILENCE_SECONDS


def _now(folder: Path) -> float:
    """Return the current time by the clock of the file system of `folder`."""
    clock = folder / f".clock.{uuid.uuid4().hex}"
    clock.touch()
    try:
        return clock.stat().st_mtime
    finally:
        clock.unlink()


def _identity() -> dict[str, str | int | None]:
    process = os.getpid()
    return {"host": _host(), "process": process, "started": _started(process)}


def _host() -> str:
    """Return the name of the machine and its process namespace: each container has its own process ids."""
    with suppress(OSError):
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _started(process: int) -> str | None:
    """Return the start time of a process of this machine, or None if the process does not exist.

    Process ids are reused; the start time distinguishes the processes. Without /proc, as on macOS, any
    existing process gives "running".
    """
    with suppress(OSError):
        state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]
    if Path("/proc/self/stat").exists():
        return None
    try:  # no /proc, as on macOS: only the process id can be checked
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"
