"""Write rows and models that a Python program holds in memory to files beside the run folder.

given = GivenObjects(Path("runs/mine"), rows=[{"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}])
given.sections        # {"data": {"train": "runs/mine-rows.jsonl"}}, for the recipe
given.write()
"""

from __future__ import annotations

import filecmp
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight.core.errors import UserError
from boresight.core.files import write_text
from boresight.data.tokenizer import Tokenizer
from boresight.models import lora
from boresight.models.policy import Policy

GivenRows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class GivenObjects:
    """Rows, model and tokenizer that a Python caller holds in memory.

    Args:
        run: the run folder, which need not exist.
        rows: training rows, mappings from column names to values: a list, a `datasets.Dataset`.
        eval_rows: held-out rows.
        model: a transformers model.
        tokenizer: tokenizer of `model`.
    """

    run: Path
    rows: GivenRows | None = None
    eval_rows: GivenRows | None = None
    model: Policy | None = None
    tokenizer: Tokenizer | None = None

    @property
    def sections(self) -> dict[str, dict[str, str]]:
        """Sections of the recipe that refer to the files written by `write`."""
        data = {"train": self.rows, "eval": self.eval_rows}
        named = {key: str(self._place(_SUFFIX[key])) for key, rows in data.items() if rows is not None}
        model = {} if self.model is None else {"name": str(self._place(_SUFFIX["model"]))}
        return {name: section for name, section in (("data", named), ("model", model)) if section}

    def write(self) -> None:
        """Write the rows and the model; the folder of a model that was written before is kept as it is.

        Raises:
            UserError: a row is no mapping or holds what JSON does not, there is no row, the file holds other
                rows, the folder another model, or a model has no tokenizer.
        """
        if self.model is not None and self.tokenizer is None:
            raise UserError("model: a model in memory needs its tokenizer; give it as tokenizer=….")
        for key, rows in (("train", self.rows), ("eval", self.eval_rows)):
            if rows is not None:
                _write_rows(rows, self._place(_SUFFIX[key]))
        if self.model is not None:
            _write_model(self.model, self.tokenizer, self._place(_SUFFIX["model"]))

    def _place(self, suffix: str) -> Path:
        run = self.run if self.run.name else self.run.absolute()  # "." has no name
        return run.with_name(f"{run.name}-{suffix}")


_SUFFIX = {"train": "rows.jsonl", "eval": "eval-rows.jsonl", "model": "model"}


def _write_rows(rows: GivenRows, place: Path) -> None:
    if isinstance(rows, Mapping | str | bytes):
        raise UserError(f"rows: got one {type(rows).__name__}; give a list of rows, one mapping each.")
    text = "".join(_line(number, row) for number, row in enumerate(rows, 1))
    if not text:
        raise UserError("rows: there is not one row in it.")
    if place.exists() and place.read_text(encoding="utf-8") != text:
        raise UserError(f"{place}: holds other rows; give another folder as run.")
    place.parent.mkdir(parents=True, exist_ok=True)
    write_text(place, text)


def _write_model(model: Policy, tokenizer: Tokenizer | None, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_dir():
        lora.save(model, place, tokenizer)
        return
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        lora.save(model, again := Path(folder) / "model", tokenizer)
        if any(_differs(file, place / file.name) for file in again.iterdir()):
            raise UserError(f"{place}: holds another model; give another folder as run.")


def _differs(file: Path, other: Path) -> bool:
    return not other.is_file() or not filecmp.cmp(file, other, shallow=False)


def _line(number: int, row: object) -> str:
    if not isinstance(row, Mapping):
        raise UserError(f"rows: row {number} is a {type(row).__name__}; give mappings of column to value.")
    try:
        return _json(dict(row)) + "\n"
    except (TypeError, ValueError):
        raise UserError(f"rows: row {number}: {_not_json(row)}; give text, numbers or lists.") from None


def _json(value: object) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)


def _not_json(row: Mapping[str, Any]) -> str:
    """Return the first column of a row whose value JSON does not have, and the reason."""
    for column, value in row.items():
        try:
            _json(value)
        except (TypeError, ValueError) as error:
            return f"`{column}`: {error}"
    return "a column name is not text"


def _plain(value: Any) -> Any:
    """Convert NumPy and torch numbers and arrays to Python's own types."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is not JSON")
