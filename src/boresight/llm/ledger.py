"""The ledger: every response that was paid for, kept from the moment it arrives.

One SQLite file in WAL mode, one transaction per event, so that a process killed at any time loses nothing
that it has received. A response is stored in the transaction that settles its attempt. Tables:

    responses   key (see `Request.key`), the request, the server's body as it came
    attempts    what was sent, reserved before sending and settled after: the budget's memory
    failures    requests that were given up, asked again by the next run
    batched     requests in a batch that the server works on, and its id
    estimated   responses whose reported usage was replaced by a safe estimate, and why

Values are JSON; nothing is pickled. No key or header ever comes here: requests are stored as
`Request.identity`, which has neither. Bodies are the servers' own, unchanged.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.files import json_line, write_point
from boresight.core.lock import FileLock
from boresight.llm.replies.reply import Reply, failed, read_body
from boresight.llm.request import Request

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS responses (
    key TEXT PRIMARY KEY, stage TEXT, model TEXT, request TEXT, body TEXT,
    tokens INTEGER, usd REAL, at REAL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, key TEXT, stage TEXT, state TEXT, tokens INTEGER, usd REAL, at REAL)""",
    "CREATE TABLE IF NOT EXISTS failures (key TEXT PRIMARY KEY, stage TEXT, kind TEXT, detail TEXT)",
    "CREATE TABLE IF NOT EXISTS batched (key TEXT PRIMARY KEY, batch TEXT)",
    "CREATE TABLE IF NOT EXISTS estimated (key TEXT PRIMARY KEY, model TEXT, why TEXT)",
    "CREATE INDEX IF NOT EXISTS open_attempts ON attempts (id) WHERE state = 'open'",
)
MEAN_COMPLETION = """
SELECT avg(tokens) FROM (
    SELECT CASE WHEN json_valid(body) THEN json_extract(body, '$.usage.completion_tokens') END AS tokens
    FROM responses WHERE stage = ? AND model = ? AND key NOT IN (SELECT key FROM estimated))
WHERE typeof(tokens) = 'integer'
"""


@dataclass(frozen=True, slots=True)
class Spent:
    """Cost of all attempts so far.

    `lost` is the cost of attempts without a response (killed, timed out, dropped), which may have been
    billed. It is counted at the reserved amount, because a budget must hold in the worst case.
    """

    requests: int
    tokens: int
    usd: float
    lost_tokens: int
    lost_usd: float


class Ledger:
    """An open ledger, which one process may hold at a time.

    Raises:
        UserError: another process holds it, or the file is no ledger.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.path.with_suffix(".lock"))
        if not self._lock.acquire():
            raise UserError(f"{self.path}: another process works on this ledger; wait for it.")
        try:
            # One thread at a time uses it: the caller's, or the one that runs the event loop for a notebook.
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._settle_dead()
        except sqlite3.OperationalError as error:
            self._lock.release()
            raise self._unwritable(error) from None
        except sqlite3.DatabaseError as error:
            self._lock.release()
            raise UserError(f"{self.path}: not a ledger ({error}); move it away.") from None
        except UserError:
            self._lock.release()
            raise

    def _settle_dead(self) -> None:
        """Create the tables, and settle the attempts that a dead process left open.

        Those in a batch are still in flight and will be reserved again by whoever asks for them; of the
        others the server may have answered any.
        """
        with self._transaction() as db:
            for statement in SCHEMA:
                db.execute(statement)
            db.execute("DELETE FROM attempts WHERE state = 'open' AND key IN (SELECT key FROM batched)")
            db.execute("UPDATE attempts SET state = 'lost' WHERE state = 'open'")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """The one way to write: all of the block's statements, or none.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        write_point("start", self.path)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                write_point("temporary", self.path)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise self._unwritable(error) from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from None
        write_point("done", self.path)

    def _unwritable(self, error: sqlite3.Error) -> UserError:
        return UserError(
            f"{self.path}: cannot be written ({error}); make room, or make it writable, and run the same "
            "command again."
        )

    def _damaged(self, error: sqlite3.Error) -> UserError:
        return UserError(
            f"{self.path}: the file is damaged ({error}); restore it, or move it away to pay for every "
            "response again."
        )

    def _select(self, query: str, values: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query. Raises `UserError` where the file is damaged."""
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Checkpoint the write-ahead log into the file and close it."""
        self._db.close()
        self._lock.release()

    def get(self, key: str) -> dict[str, Any] | None:
        """The body of a completed response; None if there is none."""
        rows = self._select("SELECT body FROM responses WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def __contains__(self, key: str) -> bool:
        return bool(self._select("SELECT 1 FROM responses WHERE key = ?", (key,)))

    def reserve(self, request: Request, tokens: int, usd: float) -> int:
        """Record that a request is about to be sent, with its largest cost; returns a ticket for settling
        it."""
        row = (request.key, request.stage, tokens, usd, time.time())
        with self._transaction() as db:
            cursor = db.execute(
                "INSERT INTO attempts (key, stage, state, tokens, usd, at) VALUES (?, ?, 'open', ?, ?, ?)",
                row,
            )
        return int(cursor.lastrowid or 0)

    def complete(
        self, ticket: int, request: Request, body: dict[str, Any], tokens: int, usd: float, doubt: str = ""
    ) -> None:
        """Store a response and settle its attempt at the actual cost, also if it was in a batch.

        `doubt` is the reason if the cost is an estimate.
        """
        with self._transaction() as db:
            db.execute(INSERT_RESPONSE, _response(request, body, tokens, usd))
            _settle(db, ticket, "done", tokens, usd)
            db.execute("DELETE FROM failures WHERE key = ?", (request.key,))
            db.execute("DELETE FROM batched WHERE key = ?", (request.key,))
            if doubt:
                row = (request.key, request.model, doubt)
                db.execute("INSERT OR REPLACE INTO estimated VALUES (?, ?, ?)", row)

    def keep(self, computed: Iterable[tuple[Request, dict[str, Any]]]) -> None:
        """Store responses that were computed in this process at no cost; no attempt is counted."""
        with self._transaction() as db:
            db.executemany(INSERT_RESPONSE, (_response(r, body, 0, 0.0) for r, body in computed))

    def fail(self, ticket: int, request: Request, kind: str, perhaps_billed: bool) -> None:
        """Settle a failed attempt, also one in a batch: at no cost, or as lost at the reserved amount."""
        with self._transaction() as db:
            if perhaps_billed:
                db.execute("UPDATE attempts SET state = 'lost' WHERE id = ?", (ticket,))
            else:
                _settle(db, ticket, kind, 0, 0.0)
            db.execute("DELETE FROM batched WHERE key = ?", (request.key,))

    def give_up(self, request: Request, kind: str, detail: str) -> None:
        """Record that this run has given up `request`, and why; the next run sends it again."""
        row = (request.key, request.stage, kind, detail)
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", row)

    def batch(self, keys: Iterable[str], batch: str) -> None:
        """Record the batch of these requests, replacing an earlier record."""
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO batched VALUES (?, ?)", ((key, batch) for key in keys))

    def batches(self) -> dict[str, list[str]]:
        """Keys of requests by batch, for batches that an earlier process submitted and did not finish."""
        found: dict[str, list[str]] = {}
        for key, batch in self._select("SELECT key, batch FROM batched"):
            found.setdefault(batch, []).append(key)
        return found

    def spent(self) -> Spent:
        """Totals over all runs on this ledger."""
        (row,) = self._select(
            "SELECT count(*), sum(tokens), sum(usd), sum(tokens * (state = 'lost')),"
            " sum(usd * (state = 'lost')) FROM attempts"
        )
        return Spent(*(value or 0 for value in row))

    def costs(self) -> list[tuple[str, str, int, int, float]]:
        """`(stage, model, responses, tokens, usd)` of completed responses."""
        return self._select(
            "SELECT stage, model, count(*), sum(tokens), sum(usd) FROM responses"
            " GROUP BY stage, model ORDER BY min(at)"
        )

    def estimates(self) -> list[tuple[str, int, str]]:
        """`(model, responses, why)` of responses whose usage is an estimate; `why` is the reason for one
        of them."""
        return self._select("SELECT model, count(*), min(why) FROM estimated GROUP BY model ORDER BY model")

    def mean_completion(self, stage: str, model: str) -> float | None:
        """Mean number of answer tokens of a stage and model, where the server reports it plausibly."""
        ((mean,),) = self._select(MEAN_COMPLETION, (stage, model))
        return mean

    def reply(self, request: Request) -> Reply:
        """The stored reply to a request: its response, else the reason why it was given up, else
        `missing`."""
        if (body := self.get(request.key)) is not None:
            return read_body(body)
        rows = self._select("SELECT kind, detail FROM failures WHERE key = ?", (request.key,))
        return failed(*rows[0]) if rows else failed("missing", "was never answered")

    async def ask(self, request: Request) -> Reply:
        """As `Client.ask`, but from the ledger alone, so that code which sends several requests runs on
        either."""
        return self.reply(request)


INSERT_RESPONSE = "INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def _response(request: Request, body: dict[str, Any], tokens: int, usd: float) -> tuple[object, ...]:
    """A row of `responses`."""
    text = json_line(body).decode().removesuffix("\n")
    return request.key, request.stage, request.model, request.identity, text, tokens, usd, time.time()


def _settle(db: sqlite3.Connection, ticket: int, state: str, tokens: int, usd: float) -> None:
    db.execute(
        "UPDATE attempts SET state = ?, tokens = ?, usd = ? WHERE id = ?", (state, tokens, usd, ticket)
    )
