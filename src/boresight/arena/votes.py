"""Votes of an arena on the disk; each vote is stored before the next question is shown.

    preferences.jsonl   decided votes as canonical preference pairs: `boresight train` reads the file as it is
    ties.jsonl          ties, with both answers

A vote is one line, which is flushed to the disk. If a power failure leaves the last line incomplete, that
line is removed when the folder is opened again; earlier lines are complete. A file without a vote is not
changed.

A vote is identified by its prompt and its two answers, not by the id of the prompt. A folder that contains a
vote on another prompt or other answers is refused: after a run has been trained again, its votes are not
about its current answers.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from boresight.arena.duels import Duel, Duels
from boresight.core.errors import UserError
from boresight.core.files import json_line
from boresight.core.lock import FileLock
from boresight.core.schema import Message, Preference
from boresight.data.write import to_record
from boresight.evaluation.systems import CUT_AT
from boresight.stats.intervals import Interval, clustered_share, grouped

Choice = Literal["left", "right", "tie"]
CHOICES: tuple[Choice, ...] = ("left", "right", "tie")
FILES = ("preferences.jsonl", "ties.jsonl")


class Votes:
    """The votes in a folder, to be read and extended. One process at a time can open a folder.

    Raises:
        UserError: another arena writes to the folder, or its files are not votes on these duels; the folder
            is then left unchanged.
    """

    def __init__(self, folder: Path, duels: Duels) -> None:
        self.folder, self.names = folder, duels.names
        self._duels = {_content(d.prompt.prompt, dict((d.left, d.right))): d for d in duels.duels}
        self._winners: dict[str, str | None] = {}
        self._asked: dict[str, str] = {}
        self._last: tuple[str, str, int] | None = None
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--out: {folder} is a file; give a folder for the votes.")
        self._read()  # before anything is written to the folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        if not self._lock.acquire():
            raise UserError(f"{folder}: another arena is writing there; close it or choose another --out.")
        try:
            self._read()  # another arena may have written until the lock was free
            self._files = {name: _open(folder / name) for name in FILES}
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Close the files and release the lock on the folder."""
        for file in self._files.values():
            file.close()
        self._lock.release()

    def __contains__(self, id: str) -> bool:
        return id in self._winners

    def __len__(self) -> int:
        return len(self._winners)

    @property
    def rate(self) -> Interval | None:
        """Win rate of the second system over the first, with ties as one half; None before the first vote.

        The confidence interval treats votes on the same prompt as one cluster.
        """
        second = self.names[1]
        outcomes = [0.5 if w is None else float(w == second) for w in self._winners.values()]
        asked = [self._asked[id] for id in self._winners]
        return clustered_share(grouped(outcomes, asked)) if outcomes else None

    def winner(self, id: str) -> str | None:
        """Return the name of the system that won the vote on a prompt; None for a tie.

        Raises:
            KeyError: there is no vote on the prompt.
        """
        return self._winners[id]

    @property
    def ties(self) -> int:
        """Number of ties."""
        return sum(winner is None for winner in self._winners.values())

    def add(self, duel: Duel, choice: Choice) -> None:
        """Record a vote; it is on the disk when this method returns."""
        winner, loser = (duel.left, duel.right) if choice != "right" else (duel.right, duel.left)
        name = "ties.jsonl" if choice == "tie" else "preferences.jsonl"
        record = _tie(duel) if choice == "tie" else _preference(duel, winner, loser, choice)
        file = self._files[name]
        start = file.seek(0, os.SEEK_END)
        try:
            _append(file, json_line(record))
            _to_disk(file)
        except OSError:
            file.truncate(start)
            raise
        self._winners[duel.prompt.id] = winner_of(duel, choice)
        self._asked[duel.prompt.id] = repr(duel.prompt.prompt)
        self._last = (duel.prompt.id, name, start)

    def undo(self, id: str) -> bool:
        """Withdraw the vote on a prompt if it is the last one of this session; return whether it was."""
        if self._last is None or self._last[0] != id:
            return False
        _, name, start = self._last
        self._files[name].truncate(start)
        _to_disk(self._files[name])
        del self._winners[id]
        self._last = None
        return True

    def _read(self) -> None:
        """Read all votes of the folder.

        Raises:
            UserError: a row is not a vote on these duels, or there is no complete vote and a file has an
                incomplete line, so that the file may not be an arena's.
        """
        self._winners, self._asked = {}, {}
        incomplete = None
        for path in (self.folder / name for name in FILES):
            *lines, rest = path.read_bytes().split(b"\n") if path.is_file() else [b""]
            incomplete = path if rest.strip() else incomplete
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    self._remember(line, f"{path}, row {number}")
        if incomplete is not None and not self._winners:
            raise UserError(
                f"{incomplete}: its only line is incomplete and may not be a vote of an arena; move the file "
                "away or choose another --out."
            )

    def _remember(self, line: bytes, where: str) -> None:
        try:
            row = json.loads(line)
            winner = row["meta"]["arena"]["winner"]
            systems = set(map(str, row["meta"]["arena"]["systems"]))
            content = _content(row["prompt"], _answers(row, winner, systems))
        except (ValueError, LookupError, TypeError, RecursionError):
            raise UserError(
                f"{where}: is not a vote of an arena; move the file away or choose another --out."
            ) from None
        if systems != set(self.names):
            raise UserError(
                f"{where}: the vote is between {' and '.join(sorted(systems))}; choose another --out."
            )
        if winner not in (*self.names, None):
            raise UserError(f"{where}: the vote is for neither of the two systems; choose another --out.")
        duel = self._duels.get(content)
        if duel is None:
            now = " and ".join(self.names)
            raise UserError(
                f"{where}: the vote is on a prompt or answers that are not those of {now} now; choose "
                "another --out."
            )
        self._winners[duel.prompt.id] = winner
        self._asked[duel.prompt.id] = repr(duel.prompt.prompt)


def winner_of(duel: Duel, choice: Choice) -> str | None:
    """Return the name of the system that a choice is for; None for a tie."""
    return {"left": duel.left[0], "right": duel.right[0], "tie": None}[choice]


def _content(prompt: object, answers: Mapping[str, str]) -> str:
    """Return a text that is equal for equal prompts and answers."""
    return json.dumps([prompt, answers], sort_keys=True)


def _answers(row: Mapping[str, Any], winner: str | None, systems: set[str]) -> Mapping[str, str]:
    """Return the answer of each system in a stored vote; `winner` is None for a tie."""
    if winner is None:
        return row["answers"]
    answer = {True: row["chosen"][0]["content"], False: row["rejected"][0]["content"]}
    return {name: answer[name == winner] for name in systems}


def _preference(
    duel: Duel, winner: tuple[str, str], loser: tuple[str, str], choice: Choice
) -> dict[str, Any]:
    meta = {"arena": _vote_metadata(duel) | {"winner": winner[0], "side": choice}}
    chosen, rejected = _answer_turns(winner[1]), _answer_turns(loser[1])
    return to_record(Preference(duel.prompt.prompt, chosen, rejected, duel.prompt.id, meta=meta))


def _tie(duel: Duel) -> dict[str, Any]:
    answers = dict((duel.left, duel.right))
    meta = {"arena": _vote_metadata(duel) | {"winner": None}}
    return {"id": duel.prompt.id, "prompt": duel.prompt.prompt, "answers": answers, "meta": meta}


def _vote_metadata(duel: Duel) -> dict[str, Any]:
    names = [duel.left[0], duel.right[0]]
    cut = {name: tokens for name, tokens in zip(names, duel.cut_at, strict=True) if tokens is not None}
    return {"systems": names, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")} | ({CUT_AT: cut} if cut else {})


def _answer_turns(text: str) -> list[Message]:
    return [Message(role="assistant", content=text)]


def _open(path: Path) -> FileIO:
    """Open the file for reading and appending, and remove an incomplete last line that a crash has left."""
    file = path.open("a+b", buffering=0)
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        file.truncate(whole)
        _to_disk(file)
    return file


def _append(file: FileIO, line: bytes) -> None:
    # The file is unbuffered, so that the end of a line that does not fit on the disk is not written later.
    if file.write(line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _to_disk(file: FileIO) -> None:
    os.fsync(file.fileno())
