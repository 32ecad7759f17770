"""Token rows in a folder, mapped into memory: one ragged array for each part of a row, and their hashes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import overload

import numpy as np

from boresight.core.errors import UserError
from boresight.core.files import read_state, write_state
from boresight.data.rows import Completion, Row, RowOrReason
from boresight.data.stored.arrays import ArrayWriter, MappedArray, Ragged, RaggedWriter
from boresight.data.stored.view import View

PARTS = {
    "tokens": np.dtype(np.int32),
    "scored": np.dtype(bool),
    "lengths": np.dtype(np.int32),
    "scores": np.dtype(np.float64),
    "id": np.dtype(np.uint8),
    "reason": np.dtype(np.uint8),
}
"""Parts of a row and their types.

They are all tokens, whether each is scored, the lengths of the prompt and the completions, the scores, and
the id. If an example has no row, only the id and the reason are not empty.
"""
EXAMPLES = "examples.npy"
"""File with the number of items (rows, or reasons for none) up to and including each example."""
HASHES = "rows.json"
RELEASED_EVERY = 4096
"""Number of rows after which the memory of the rows read so far is released."""


def write_token_rows(folder: Path, outcomes: Iterable[Sequence[RowOrReason]]) -> dict[str, list[str]]:
    """Write the rows of each example into an empty folder, and return hashes of the parts.

    If an example has no row, the reason is written.

    Raises:
        OSError: the disk is full or not writable.
    """
    parts = {name: RaggedWriter(folder, name, dtype) for name, dtype in PARTS.items()}
    ends = ArrayWriter(folder / EXAMPLES, np.dtype(np.int64))
    for end in accumulate(_append(parts, made) for made in outcomes):
        ends.extend(np.array([end]))
    return {**{name: part.close() for name, part in parts.items()}, EXAMPLES: [ends.close()]}


def write_row_hashes(folder: Path, hashes: Mapping[str, list[str]]) -> None:
    """Write the hashes that `write_token_rows` returned to a file beside the rows."""
    write_state(folder / HASHES, {"sha256": hashes})


def _append(parts: dict[str, RaggedWriter], made: Sequence[RowOrReason]) -> int:
    """Write the rows of one example, and return their number."""
    for outcome in made:
        for name, values in _encoded(outcome).items():
            parts[name].append(values)
    return len(made)


def _encoded(outcome: RowOrReason) -> dict[str, np.ndarray]:
    """Return the parts of a row, or of the reason for none."""
    if not isinstance(outcome, Row):
        none = np.zeros(0)
        text = {"id": _bytes(outcome[0]), "reason": _bytes(str(outcome[1]))}
        return dict.fromkeys(PARTS, none) | text
    pieces = [outcome.prompt, *(c.ids for c in outcome.completions)]
    unscored = np.zeros(len(outcome.prompt), dtype=bool)
    return {
        "tokens": np.concatenate(pieces),
        "scored": np.concatenate([unscored, *(c.mask for c in outcome.completions)]),
        "lengths": np.array([len(piece) for piece in pieces]),
        "scores": np.array(outcome.scores),
        "id": _bytes(outcome.id),
        "reason": _bytes(""),
    }


class StoredRows(Sequence[RowOrReason]):
    """Sequence of the rows in a folder, or the reasons for none, in the order of their examples.

    Raises:
        UserError: a file is missing, or does not contain a complete array.
    """

    def __init__(self, folder: Path) -> None:
        self._parts = {name: Ragged(folder, name, dtype) for name, dtype in PARTS.items()}
        self._ends = MappedArray(folder / EXAMPLES, np.dtype(np.int64))
        self._hashes, self._read = folder / HASHES, 0

    def refuse_damaged(self) -> None:
        """Raise a `UserError` if the content of a file differs from what was written."""
        known = read_state(self._hashes, "delete it and the files beside it").get("sha256")
        found = {name: part.sha256() for name, part in self._parts.items()}
        if known != {**found, EXAMPLES: [self._ends.sha256()]}:
            raise UserError(f"{self._hashes.parent}: its files are not those that were written; delete it.")

    @property
    def ends(self) -> np.ndarray:
        """Number of items up to and including each example, int64 `(examples,)`."""
        return self._ends.values

    def of_example(self, index: int) -> Sequence[RowOrReason]:
        """Return the rows of one example, or the reason for none; each row is read on access."""
        start = int(self.ends[index - 1]) if index else 0
        return View(int(self.ends[index]) - start, lambda place: self[start + place])

    def __len__(self) -> int:
        return len(self._parts["id"])

    @overload
    def __getitem__(self, index: int) -> RowOrReason: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RowOrReason]: ...
    def __getitem__(self, index: int | slice) -> RowOrReason | Sequence[RowOrReason]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return View(len(places), lambda place: self[places[place]])
        self._release_periodically()
        return _decoded({name: part[places] for name, part in self._parts.items()})

    def _release_periodically(self) -> None:
        self._read += 1
        if self._read % RELEASED_EVERY == 0:
            for part in self._parts.values():
                part.release()
            self._ends.release()


def _decoded(parts: dict[str, np.ndarray]) -> RowOrReason:
    id, reason = (_text(parts[name]) for name in ("id", "reason"))
    if not len(parts["lengths"]):
        return id, UserError(reason)
    cuts = np.cumsum(parts["lengths"])[:-1]
    prompt, *ids = np.split(parts["tokens"], cuts)
    _, *masks = np.split(parts["scored"], cuts)
    completions = tuple(Completion(*one) for one in zip(ids, masks, strict=True))
    return Row(id, prompt, completions, scores=tuple(parts["scores"].tolist()))


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)


def _text(values: np.ndarray) -> str:
    return values.tobytes().decode("utf-8", "surrogatepass")
