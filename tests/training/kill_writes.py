"""Ends real runs at chosen writes and goes on with them: kill_writes.py JOBS.json

A job is {"recipe", "home", "mode", "part", "parts"}. Its undisturbed run ends up in `home/whole`. The modes:

    sites   one run, killed once after every write of every kind, going on after each: `home/sites`
    kills   a run for every write, killed there, going on to its end: `home/0`, `home/1`, …
    full    the same, with a disk that takes nothing from that write on

Of `kills` and `full`, only every `parts`-th write is done, from number `part` on. Prints, for every job, the
number of writes and what happened at each of those that were chosen.

A run's process is forked from this one, which has imported everything. The clock of checkpoints advances by
151 seconds a step, so that a checkpoint is due after every second step.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core import files
from boresight.core.errors import UserError
from boresight.runs.train import run_training
from boresight.training import loop
from boresight.training.checkpoints.timer import CheckpointTimer

SECONDS_A_STEP = 151.0
"""Less than the 300 seconds between two checkpoints and more than half of them."""
AS_BEFORE = ("start ", "append ", "remove ")
"""Points at which the disk is as it was after the write before."""
Hook = Callable[[str, Path, bytes], None]


def site(point: str, path: Path, folder: Path) -> str:
    """A call site: the point of the write and the file, without what differs between two runs in `folder`."""
    name = path.relative_to(folder.parent).as_posix().removeprefix(folder.name).removeprefix("/")
    name = re.sub(r"\.([\w-]+)\.[0-9a-f]{12}\.part", r"\1", name)
    name = re.sub(r"(step|within-bounds)-\d+", r"\1-N", re.sub(r"[0-9a-f]{32,}", "DIGEST", name))
    return f"{point} {name}"


class Recorder:
    """Notes every write; torn lines are a site of their own."""

    def __init__(self, folder: Path) -> None:
        self.sites: list[str] = []
        self._folder = folder

    def __call__(self, point: str, path: Path, data: bytes) -> None:
        self.sites.append(site(point, path, self._folder))
        if point == "append":
            self.sites.append(site("torn", path, self._folder))
        self.reached(path, data)

    def reached(self, path: Path, data: bytes) -> None:
        """Take note of the writes up to the last one."""


class Killer(Recorder):
    """Ends the process at the first write that `wanted` chooses by its number and site."""

    def __init__(self, folder: Path, wanted: Callable[[int, str], bool], say: Callable[[str], None]) -> None:
        super().__init__(folder)
        self._wanted, self._say, self._seen = wanted, say, 0

    def reached(self, path: Path, data: bytes) -> None:
        """Die if one of the new writes is wanted."""
        for number in range(self._seen, len(self.sites)):
            self._seen += 1
            if self._wanted(number, self.sites[number]):
                if self.sites[number].startswith("torn"):
                    tear(path, data)
                self._say(self.sites[number])
                os.kill(os.getpid(), signal.SIGKILL)


class FullDisk(Recorder):
    """Takes no more bytes from write number `first` on; what frees space works."""

    def __init__(self, folder: Path, first: int) -> None:
        super().__init__(folder)
        self._first = first

    def reached(self, path: Path, data: bytes) -> None:
        """Raise what the system raises."""
        last = self.sites[-1]
        if len(self.sites) > self._first and last.startswith(("start", "temporary", "torn")):
            if last.startswith("torn"):
                tear(path, data)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def tear(path: Path, data: bytes) -> None:
    """Append the first half of what was to be appended."""
    with path.open("ab") as file:
        file.write(data[: len(data) // 2])


def attempt(recipe: dict, folder: Path, hook: Hook, steps: Callable[[int], None]) -> None:
    """One command, in this process: what somebody types again after each end."""
    now = [0.0]

    def listen(step: int, split: str, numbers: dict[str, float]) -> None:
        if split == "train":
            now[0] += SECONDS_A_STEP
            steps(step)

    os.fsync = lambda file: None  # a kill takes nothing from the system's cache
    loop.CheckpointTimer = lambda: CheckpointTimer(lambda: now[0])
    os.environ["XDG_CACHE_HOME"] = str(folder.with_name(f"{folder.name}-cache"))
    files.on_write = hook
    run_training(Recipe.parse(recipe), folder, Console(quiet=True), listeners=[listen])


class Child:
    """A forked run: how it ended, its steps, and the writes it noted."""

    def __init__(self, recipe: dict, folder: Path, make: Callable[[Callable[[str], None]], Recorder]) -> None:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            self._run(recipe, folder, make, write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            notes = [json.loads(line) for line in pipe]
        status = os.waitpid(child, 0)[1]
        self.killed = os.WIFSIGNALED(status)
        self.steps = [note["step"] for note in notes if "step" in note]
        self.site = next((note["site"] for note in notes if "site" in note), "")
        self.sites = next((note["sites"] for note in notes if "sites" in note), [])
        self.modules = next((note["modules"] for note in notes if "modules" in note), [])
        self.refused = next((note["refused"] for note in notes if "refused" in note), "")
        error = next((note["error"] for note in notes if "error" in note), "")
        if error:
            raise SystemExit(f"{folder}: {error or notes} ({os.waitstatus_to_exitcode(status)})")

    def _run(
        self, recipe: dict, folder: Path, make: Callable[[Callable[[str], None]], Recorder], pipe: int
    ) -> None:
        def note(key: str, value: object) -> None:
            os.write(pipe, json.dumps({key: value}).encode() + b"\n")

        hook = make(lambda where: note("site", where))
        try:
            attempt(recipe, folder, hook, lambda step: note("step", step))
        except UserError as error:
            note("refused", str(error))
        except BaseException as error:
            note("error", repr(error))
        note("sites", hook.sites)
        note("modules", list(sys.modules))
        os._exit(0)


def repeated(before: list[int], after: list[int]) -> int:
    """Steps that had been logged and were trained again."""
    return max(0, max(before, default=0) - min(after, default=7) + 1)


def every_site(recipe: dict, folder: Path) -> list[dict]:
    """One run that is killed once at every site it passes."""
    met: list[dict] = []
    done: set[str] = set()

    def is_new(number: int, where: str) -> bool:
        return where not in done and not where.startswith(AS_BEFORE)

    last: list[int] = []
    while True:
        child = Child(recipe, folder, lambda say: Killer(folder, is_new, say))
        if child.steps:
            if met:
                met[-1]["repeated"] = repeated(last, child.steps)
            last = child.steps
        if not child.killed:
            return met
        done.add(child.site)
        met.append({"site": child.site, "repeated": 0})


def one_write(recipe: dict, folder: Path, number: int) -> dict:
    """A run that is killed at one write and goes on to its end."""
    first = Child(recipe, folder, lambda say: Killer(folder, lambda at, _: at == number, say))
    second = Child(recipe, folder, lambda _: Recorder(folder))
    return {"site": first.site, "repeated": repeated(first.steps, second.steps), "refused": second.refused}


def full_disk(recipe: dict, folder: Path, number: int) -> dict:
    """A run whose disk is full from one write on, and that goes on when there is room."""
    first = Child(recipe, folder, lambda _: FullDisk(folder, number))
    found = {"site": first.sites[min(number, len(first.sites) - 1)], "said": first.refused}
    if first.refused:
        second = Child(recipe, folder, lambda _: Recorder(folder))
        found |= {"repeated": repeated(first.steps, second.steps), "refused": second.refused}
    return found


def job(recipe: dict, home: Path, mode: str, part: int = 0, parts: int = 1) -> dict:
    """The undisturbed run and those that are ended."""
    home.mkdir(parents=True)
    attempt(recipe, home / "warm", Recorder(home / "warm"), lambda step: None)  # what is cached stays cached
    whole = Child(recipe, home / "whole", lambda _: Recorder(home / "whole"))
    for name in whole.modules:  # so that the next children need not
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    numbers = range(part, len(whole.sites), parts)
    if mode == "sites":
        met = every_site(recipe, home / "sites")
    else:
        end = {"kills": one_write, "full": full_disk}[mode]
        met = [end(recipe, home / str(number), number) for number in numbers]
    return {
        "writes": len(whole.sites),
        "sites": sorted({*whole.sites}),
        "checkpoints": whole.sites.count("done checkpoints/step-N"),
        "first_saved": whole.sites.index("done checkpoints/step-N"),
        "met": met,
    }


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps([job(**{**one, "home": Path(one["home"])}) for one in jobs]))
