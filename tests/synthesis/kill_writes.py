"""Kills syntheses at chosen writes and goes on with them: kill_writes.py HOME MODE PROMPTS WHAT [PART PARTS]

MODE is `plain` or `batch`. Every prompt gets three answers and one judgment. WHAT is

    sites   one run, killed once before and after every kind of write, going on after each
    writes  a run for every write, in random order, killed there, going on to its end; of all of them every
            PARTS-th, from PART

A process under test is forked from this one, which has imported everything and runs the loopback server,
which counts what it is asked. Prints a line of JSON for every run: what was lost, and what was bought twice.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import openai  # noqa: F401
import pyarrow.parquet  # noqa: F401

import boresight.stats.intervals  # noqa: F401
from boresight.core import files
from boresight.llm.transports.batch import BatchTransport
from boresight.synthesis.recipe import SynthesisRecipe
from boresight.synthesis.run import run_synthesis
from tests.llm.fake_server import FakeServer
from tests.llm.helpers import KEY, KEY_ENV, digest_of_stored
from tests.synthesis.test_synth_run import answer_and_judge, raw, write_prompts

Wanted = Callable[[int, str], bool]
"""(number of a write, its site) -> whether to die there."""
Chooser = Callable[[list[str]], Wanted]
"""(sites of earlier kills) -> where to die next."""
AT_ONCE = 4
RESULTS = ("prompts.jsonl", "answers.jsonl", "pairs.jsonl")


def site(point: str, path: Path) -> str:
    """A call site: the point of the write and the file; for the ledger, its method."""
    if path.suffix != ".sqlite":
        return f"{point} {path.name}"
    frame: Any = sys._getframe()
    while not frame.f_code.co_filename.endswith("ledger.py") or frame.f_code.co_name == "_transaction":
        frame = frame.f_back
    return f"{point} ledger.{frame.f_code.co_name}"


class Killer:
    """Ends the process at the first write that `wanted` chooses by number and site; counts the writes.

    A write is passed twice: complete but without its name or commit, and done.
    """

    def __init__(self, wanted: Wanted, say: Callable[[object], None]) -> None:
        self.wanted, self.say, self.count = wanted, say, 0

    def __call__(self, point: str, path: Path, data: bytes) -> None:
        if point == "start":  # the disk is as after the write before
            return
        where = site(point, path)
        if self.wanted(self.count, where):
            self.say(where)
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


def never(number: int, where: str) -> bool:
    """No kill."""
    return False


def every_site(kills: list[str]) -> Wanted:
    """At the first write of a kind that no process has died at."""
    return lambda number, where: where not in kills


def once_at(chosen: int) -> Chooser:
    """At one write of the first process."""
    return lambda kills: never if kills else lambda number, where: number == chosen


def forked(recipe: dict[str, Any], folder: Path, wanted: Wanted) -> tuple[bool, Any]:
    """Whether a synthesis in a process of its own was killed, and where, or how many writes it has."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)

        def say(value: object) -> None:
            os.write(write, json.dumps(value).encode())

        files.on_write = killer = Killer(wanted, say)
        try:
            run_synthesis(SynthesisRecipe.parse(recipe), folder)
            say(killer.count)
        except BaseException as error:
            say(repr(error))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = json.loads(pipe.read() or b'"nothing"')
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status)
    if not killed and not isinstance(said, int):
        raise SystemExit(f"{folder}: {said}")
    return killed, said


def start(home: Path, mode: str, prompts: Path) -> tuple[FakeServer, Callable[[FakeServer], dict[str, Any]]]:
    """A server, and the recipe that asks it."""

    def recipe(server: FakeServer) -> dict[str, Any]:
        made = raw(server, prompts, judge={"name": "rubric", "by": "api", "orders": 1})
        made["endpoints"]["api"] |= {
            "batch": mode == "batch",
            "limits": {"max_concurrency": AT_ONCE, "start_concurrency": AT_ONCE},
        }
        return made

    return FakeServer(answer=answer_and_judge), recipe


def bought(server: FakeServer, mode: str) -> Counter[str]:
    """How often each request was answered, or put into a batch."""
    if mode == "plain":
        return Counter(server.answered)
    made = Counter[str]()
    for batch in server.batches.values():
        lines = server.files[batch["input_file_id"]].split(b"\n")
        made.update(json.loads(line)["custom_id"] for line in lines if line)
    return made


def stored(folder: Path, mode: str) -> set[str]:
    """What the ledger holds, under the names that the server counts by."""
    ledger = folder / "ledger.sqlite"
    if not ledger.exists():
        return set()
    with closing(sqlite3.connect(ledger)) as file:
        if not file.execute("SELECT 1 FROM sqlite_master WHERE name = 'responses'").fetchone():
            return set()
        rows = file.execute("SELECT key, request FROM responses").fetchall()
    return {key if mode == "batch" else digest_of_stored(json.loads(request)) for key, request in rows}


def results(folder: Path) -> list[object]:
    """What was made, without keys of the ledger, which hold the server's port."""
    kept: list[object] = []
    for name in RESULTS:
        lines = (folder / name).read_bytes().split(b"\n")
        kept += [json.loads(line, object_hook=_without_keys) for line in lines if line]
    return kept


def _without_keys(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "response"}


def killed_run(
    home: Path, mode: str, prompts: Path, name: str, choose: Chooser, whole: list[object] | None
) -> dict[str, Any]:
    """A run that is killed wherever `choose` wants, and goes on until it ends: one line of the report."""
    server, recipe = start(home, mode, prompts)
    folder = home / name
    found: dict[str, Any] = {"run": name, "kills": [], "resent": 0}
    with server:
        while True:
            before, had = bought(server, mode), stored(folder, mode)
            killed, said = forked(recipe(server), folder, choose(found["kills"]))
            after = bought(server, mode)
            found["resent"] += sum(after[key] > before[key] for key in had)
            if not killed:
                break
            found["kills"].append(said)
    times = bought(server, mode)
    found |= {
        "writes": said,
        "responses": len(stored(folder, mode)),
        "lost": len(set(times) ^ stored(folder, mode)),
        "twice": sum(times.values()) - len(times),
        "same": whole is None or results(folder) == whole,
    }
    return found


def main(home: Path, mode: str, count: int, what: str, part: int = 0, parts: int = 1) -> None:
    """See the module."""
    os.environ[KEY_ENV] = KEY
    BatchTransport.__init__.__kwdefaults__.update(poll_every=0.002, linger=0.005)
    home.mkdir(parents=True)
    prompts = write_prompts(home / "prompts.jsonl", count)
    undisturbed = killed_run(home, mode, prompts, "whole", lambda kills: never, None)
    print(json.dumps(undisturbed), flush=True)
    whole = results(home / "whole")
    if what == "sites":
        line = killed_run(home, mode, prompts, "sites", every_site, whole)
        print(json.dumps(line), flush=True)
        return
    numbers = range(undisturbed["writes"])
    for chosen in random.Random(0).sample(numbers, len(numbers))[part::parts]:
        line = killed_run(home, mode, prompts, str(chosen), once_at(chosen), whole)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    home, mode, count, what, *rest = sys.argv[1:]
    main(Path(home), mode, int(count), what, *map(int, rest))
