"""Cache of reference log-probabilities on disk, shared by runs, sweep trials and resumed runs.

Entries are identified by content: the reference's weights and config, the token ids and the loss masks. There
is one SQLite file per reference model, and further ones for values computed under autocast and with fast
kernels. SQLite's write-ahead log lets several runs write at once, and the results of every forward are
committed when it is done, so that a crash loses at most one forward. Every row has a checksum over its key
and its numbers. A few stored rows are recomputed before the first use, because software or hardware may have
changed since.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from boresight.core.errors import UserError
from boresight.core.files import write_point
from boresight.data.rows import Row
from boresight.models.kernels.fast import fast_kernels
from boresight.models.policy import Policy, arithmetic_of, causal_model
from boresight.models.precision import Disagreement, token_noise
from boresight.models.reference.distinct import DistinctRows, LogpTable
from boresight.models.reference.frozen import StoredReference, reference_sums

CHECKED_ROWS = 4
"""Number of stored rows that are recomputed before the first use."""
SAME_NATS, SAME_SHARE = 1e-2, 1e-5
"""Absolute tolerance in nats, and relative tolerance, for sums of hundreds of nats in float32.

They cover rounding differences between two machines, or two divisions into batches.
"""
WAIT_SECONDS = 60.0
"""Maximum time that a writer waits for another one, in seconds."""
_TABLE = "checked_logps (key BLOB PRIMARY KEY, sums BLOB, checksum BLOB)"
"""Schema of the table. Files of earlier versions have a table `logps` without checksums, which is not
read."""
_ADAPTER = "lora_"
_NO_EFFECT = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "architectures"}


def cached_reference(
    model: Policy,
    rows: Sequence[Row],
    tokens_per_forward: int,
    on_rows: Callable[[int], None] = lambda done: None,
    *,
    folder: Path | None = None,
) -> StoredReference:
    """Return the reference log-probabilities of `rows`, read from the cache or computed and stored.

    Args:
        model: the policy before training, when it equals the reference; its adapters are disabled.
        on_rows: called after each read or forward with the number of rows that it finished.
        folder: folder of the cache; None for the default in the user's cache folder.

    Raises:
        UserError: the file is damaged, or contains other numbers than the model computes now.
    """
    wanted = DistinctRows(rows)
    path = (folder or _default_folder()) / f"{reference_fingerprint(model)}{_precision(model)}.sqlite"
    with _database(path) as database:
        table = _read(database, wanted, path)
        _check(model, wanted.only(table.__contains__), table, tokens_per_forward, path)
        cached = len(table)
        on_rows(cached)
        missing = wanted.only(lambda key: key not in table)
        for part in reference_sums(model, missing, tokens_per_forward):
            _write(database, part, path)
            table.put(part)
            on_rows(len(part))
    return StoredReference(table, cached)


def reference_fingerprint(model: Policy) -> str:
    """Return a digest of everything in the model that the reference's log-probabilities depend on, without
    adapters.

    The names of weights are those without a PEFT wrapper, so a LoRA run and a full one share a file.
    """
    base = causal_model(model)
    config = {k: v for k, v in base.config.to_dict().items() if k not in _NO_EFFECT}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    weights = {name.replace(".base_layer", ""): tensor for name, tensor in base.named_parameters()}
    for name in sorted(name for name in weights if _ADAPTER not in name):
        tensor = weights[name].detach().contiguous().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _precision(model: Policy) -> str:
    """Return a suffix of the file name for half precision and fast kernels, which round differently; '' for
    neither."""
    half = torch.is_autocast_enabled(model.device.type)
    dtype = f"-{str(arithmetic_of(model)).removeprefix('torch.')}" if half else ""
    return f"{dtype}-fast" if fast_kernels() else dtype


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)) as database:
            _log_ahead(database)
            database.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE} WITHOUT ROWID")
            yield database
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path}: the reference cache cannot be used ({error}); delete the file.") from error


def _log_ahead(database: sqlite3.Connection) -> None:
    """Enable the write-ahead log, and wait for other processes that do the same: SQLite itself does not wait
    here."""
    give_up = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _read(database: sqlite3.Connection, wanted: DistinctRows, path: Path) -> LogpTable:
    """Return a table of the rows in `wanted` that are stored.

    Raises:
        UserError: a stored row was changed.
    """
    table = LogpTable(wanted.key_array)
    for key, row in wanted:
        found = database.execute("SELECT sums, checksum FROM checked_logps WHERE key = ?", (key,)).fetchone()
        if found is None:
            continue
        sums, checksum = found
        if checksum != _checksum(key, sums) or len(sums) != 4 * len(row.completions):
            raise UserError(
                f"{path}: the stored log-probabilities of row {row.id!r} were changed, their checksum is "
                "wrong; delete the file and run again."
            )
        table.put({key: torch.from_numpy(np.frombuffer(sums, "<f4").copy())})
    return table


def _write(database: sqlite3.Connection, part: Mapping[bytes, Tensor], path: Path) -> None:
    """Store log-probabilities in one transaction; rows that another run has stored in the meantime are
    kept."""
    stored = [(key, sums.numpy().astype("<f4").tobytes()) for key, sums in part.items()]
    values = [(key, sums, _checksum(key, sums)) for key, sums in stored]
    write_point("start", path)
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT OR IGNORE INTO checked_logps VALUES (?, ?, ?)", values)
    write_point("temporary", path)
    database.execute("COMMIT")
    write_point("done", path)


def _checksum(key: bytes, sums: object) -> bytes:
    """Return a checksum over the key and the numbers of a row; empty if `sums` is not a blob.

    The key is included so that the numbers of another row fail the check too.
    """
    return hashlib.sha256(key + sums).digest()[:8] if isinstance(sums, bytes) else b""


def _check(
    model: Policy,
    rows: DistinctRows,
    stored: Mapping[bytes, Tensor],
    tokens_per_forward: int,
    path: Path,
) -> None:
    """Recompute a few stored rows, the shortest ones to save time, and raise a `UserError` if they differ."""
    few = rows.at(np.argsort(rows.lengths(), kind="stable")[:CHECKED_ROWS])
    known = dict(few)
    noise = token_noise(arithmetic_of(model))
    for part in reference_sums(model, few, tokens_per_forward):
        for key, now in part.items():
            length = torch.tensor([float(c.scored) for c in known[key].completions])
            if _differ(stored[key], now, length, noise):
                raise UserError(
                    f"{path}: row {known[key].id!r} is stored with log-probabilities {stored[key].tolist()}, "
                    f"but the model gives {now.tolist()}; delete the file and run again."
                )


def _differ(stored: Tensor, now: Tensor, length: Tensor, noise: float) -> bool:
    """Whether stored and recomputed sums over `length` tokens differ by more than rounding, for tensors
    `(k,)`."""
    if noise:
        return Disagreement.of(stored - now, length).beyond_rounding(noise) is not None
    return not torch.allclose(stored, now, rtol=SAME_SHARE, atol=SAME_NATS)


def _default_folder() -> Path:
    from boresight.core.files import cache_folder

    return cache_folder() / "reference"
