"""Store every response from the moment it arrives.

The ledger is one SQLite file in WAL mode with one transaction per event, so that a process killed at any time
loses nothing that it has received. A response is stored in the transaction that settles its attempt. Tables:

    responses   key (see `Request.key`), the request, the server's body as received
    attempts    requests sent: the cost is reserved before sending and settled afterwards
    failures    requests that were given up; the next run sends them again
    batched     requests in a batch that the server works on, and the id of the batch
    estimated   responses whose reported usage was replaced by a safe estimate, and why

Values are JSON; nothing is pickled. No key or header is ever stored: requests are stored as
`Request.identity`, which has neither. Bodies are those of the servers, unchanged.
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

    `lost_tokens` and `lost_usd` are the cost of attempts without a response (killed, timed out, dropped),
    which may have been billed. They are counted at the reserved amount, so that the budget holds in the worst
    case.
    """

    requests: int
    tokens: int
    usd: float
    lost_tokens: int
    lost_usd: float


class Ledger:
    """An open ledger; only one process can hold it at a time.

    Raises:
        UserError: another process holds it, or the file is not a ledger.
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
        """Create the tables, and settle the attempts that a killed process left open.

        Open attempts in a batch are deleted: the batch is still in progress, and the cost is reserved again
        when the requests are made again. All other open attempts count as lost, since the server may have
        answered them.
        """
        with self._transaction() as db:
            for statement in SCHEMA:
                db.execute(statement)
            db.execute("DELETE FROM attempts WHERE state = 'open' AND key IN (SELECT key FROM batched)")
            db.execute("UPDATE attempts SET state = 'lost' WHERE state = 'open'")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Context manager for every write: all statements of the block are committed, or none.

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
        """Return the rows of a query.

        Raises:
            UserError: the file is damaged.
        """
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Checkpoint the write-ahead log, and close the file."""
        self._db.close()
        self._lock.release()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the body of the stored response; None if there is none."""
        rows = self._select("SELECT body FROM responses WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    def __contains__(self, key: str) -> bool:
        return bool(self._select("SELECT 1 FROM responses WHERE key = ?", (key,)))

    def reserve(self, request: Request, tokens: int, usd: float) -> int:
        """Record a request about to be sent at its maximum cost; return a ticket for settling it."""
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
        """Store a response and settle its attempt at the actual cost, also for a request in a batch.

        Args:
            doubt: reason why the cost is an estimate; '' if it is not.
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
        """Store responses that were computed in this process at no cost; they are not counted as attempts."""
        with self._transaction() as db:
            db.executemany(INSERT_RESPONSE, (_response(r, body, 0, 0.0) for r, body in computed))

    def fail(self, ticket: int, request: Request, kind: str, perhaps_billed: bool) -> None:
        """Settle a failed attempt, also of a request in a batch.

        With `perhaps_billed` the attempt counts as lost, at the reserved amount; otherwise it costs nothing.
        """
        with self._transaction() as db:
            if perhaps_billed:
                db.execute("UPDATE attempts SET state = 'lost' WHERE id = ?", (ticket,))
            else:
                _settle(db, ticket, kind, 0, 0.0)
            db.execute("DELETE FROM batched WHERE key = ?", (request.key,))

    def give_up(self, request: Request, kind: str, detail: str) -> None:
        """Record that this run gives up `request`, and why; the next run sends it again."""
        row = (request.key, request.stage, kind, detail)
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", row)

    def batch(self, keys: Iterable[str], batch: str) -> None:
        """Record that the requests with these keys are in the batch `batch`, replacing earlier records."""
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO batched VALUES (?, ?)", ((key, batch) for key in keys))

    def batches(self) -> dict[str, list[str]]:
        """Return the keys of the requests in every unfinished batch, by batch id."""
        found: dict[str, list[str]] = {}
        for key, batch in self._select("SELECT key, batch FROM batched"):
            found.setdefault(batch, []).append(key)
        return found

    def spent(self) -> Spent:
        """Return the total cost of all runs on this ledger."""
        (row,) = self._select(
            "SELECT count(*), sum(tokens), sum(usd), sum(tokens * (state = 'lost')),"
            " sum(usd * (state = 'lost')) FROM attempts"
        )
        return Spent(*(value or 0 for value in row))

    def costs(self) -> list[tuple[str, str, int, int, float]]:
        """Return `(stage, model, responses, tokens, usd)` of the responses of each stage and model."""
        return self._select(
            "SELECT stage, model, count(*), sum(tokens), sum(usd) FROM responses"
            " GROUP BY stage, model ORDER BY min(at)"
        )

    def estimates(self) -> list[tuple[str, int, str]]:
        """Return `(model, responses, why)` for each model with responses whose usage is an estimate.

        `why` is the reason for one of them.
        """
        return self._select("SELECT model, count(*), min(why) FROM estimated GROUP BY model ORDER BY model")

    def mean_completion(self, stage: str, model: str) -> float | None:
        """Return the mean number of answer tokens of a stage and model; None if unknown.

        Only usage that the server reported plausibly is counted.
        """
        ((mean,),) = self._select(MEAN_COMPLETION, (stage, model))
        return mean

    def reply(self, request: Request) -> Reply:
        """Return the stored reply to a request.

        If there is no response, it is a reply with the failure for which the request was given up, or with
        the failure `missing`.
        """
        if (body := self.get(request.key)) is not None:
            return read_body(body)
        rows = self._select("SELECT kind, detail FROM failures WHERE key = ?", (request.key,))
        return failed(*rows[0]) if rows else failed("missing", "was never answered")

    async def ask(self, request: Request) -> Reply:
        """Return the stored reply, like `reply`.

        It has the signature of `Client.ask`, so that code which makes several requests can read from the
        ledger alone.
        """
        return self.reply(request)


INSERT_RESPONSE = "INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def _response(request: Request, body: dict[str, Any], tokens: int, usd: float) -> tuple[object, ...]:
    """Return a request and its response as a row of the table `responses`."""
    text = json_line(body).decode().removesuffix("\n")
    return request.key, request.stage, request.model, request.identity, text, tokens, usd, time.time()


def _settle(db: sqlite3.Connection, ticket: int, state: str, tokens: int, usd: float) -> None:
    db.execute(
        "UPDATE attempts SET state = ?, tokens = ?, usd = ? WHERE id = ?", (state, tokens, usd, ticket)
    )
