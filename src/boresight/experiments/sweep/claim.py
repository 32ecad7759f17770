"""Which worker has a trial: one file an attempt, made by a hard link, which is atomic on shared disks too.

    trials/03-seed0/claim-1     host, process; touched every few seconds while its worker lives
    trials/03-seed0/claim-2     another worker took over

A worker takes over by making the next number, which only one can. The holder of an older number finds out
at its next line of metrics and stops. Ages are read off the file system's own clock, so machines need not
agree on the time.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 120.0
"""Seconds without a sign of life after which a worker on another machine is taken for dead."""
RELEASED = 0.0
"""Time of a claim that was given back: it counts as no attempt."""


@dataclass(frozen=True)
class Claim:
    """This process's hold on a trial; `lost` attempts before it ended without a word."""

    path: Path
    number: int
    lost: int

    @property
    def held(self) -> bool:
        """Whether nobody has taken over."""
        return not self.path.with_name(f"claim-{self.number + 1}").exists()

    def release(self) -> None:
        """Give the trial back, so that another worker goes on at once."""
        os.utime(self.path, (RELEASED, RELEASED))

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Inside the block the claim shows signs of life."""
        over = threading.Event()
        thread = threading.Thread(target=self._touch, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _touch(self, over: threading.Event) -> None:
        while not over.wait(PATIENCE / 12):
            with suppress(OSError):  # a file system that is away for a moment
                os.utime(self.path)


def take(folder: Path) -> Claim | None:
    """A claim on the trial in `folder`; None while a living worker has it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = claims(folder)
    if made and not _is_over(made[-1]):
        return None
    path = folder / f"claim-{len(made) + 1}"
    if not create(path, json.dumps(_identity())):
        return None
    return Claim(path, len(made) + 1, sum(claim.stat().st_mtime != RELEASED for claim in made))


def claims(folder: Path) -> list[Path]:
    """Claims made so far, in order."""
    return sorted(folder.glob("claim-*"), key=lambda path: int(path.name.removeprefix("claim-")))


def create(path: Path, text: str) -> bool:
    """Make a file whole, unless it is there already; says whether it did."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    part.write_text(text, encoding="utf-8")
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


def _is_over(claim: Path) -> bool:
    touched = claim.stat().st_mtime
    if touched == RELEASED:
        return True
    holder = json.loads(claim.read_text(encoding="utf-8"))
    here = _identity()
    if holder["host"] == here["host"]:
        return _started(holder["process"]) != holder["started"]
    return _now(claim.parent) - touched > PATIENCE


def _now(folder: Path) -> float:
    """The time by the clock of the file system that holds `folder`."""
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
    """Name of the machine, and of the container in it: process numbers mean nothing in another one."""
    with suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _started(process: int) -> str | None:
    """When a process of this machine was started, since numbers are used again; None when there is none."""
    with suppress(OSError):
        state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]
    if Path("/proc/self/stat").exists():
        return None
    try:  # no /proc, as on macOS: the number alone
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"
