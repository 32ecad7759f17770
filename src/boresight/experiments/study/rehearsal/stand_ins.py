"""Create small stand-ins for the models and data sets that a plan names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.files import write_jsonl
from boresight.core.plugins import import_extra
from boresight.data.demo import data_path, split_name
from boresight.data.reading.files import is_hub_id, records
from boresight.data.reading.sources.generated import PREFIX
from boresight.experiments.study.rehearsal.hub_rows import HUB_SHAPES, HubRow, synthesized
from boresight.experiments.study.rehearsal.model import build_stand_in
from boresight.models.embedded import countdown_tiny
from boresight.models.source import EMBEDDED

ROWS = 60
"""Number of rows of a data set that is a stand-in."""
MADE_LATER = "runs"
"""Folder of files that other commands create before a plan is run; they may not exist yet."""


class StandIns:
    """Builds stand-ins in `folder` when they are first needed.

    `missing` has the names of files that do not exist yet, since other commands create them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing: dict[str, None] = {}

    def model(self, name: str) -> str:
        """Return the folder of the stand-in for the model `name`; the tiny embedded model stays as it is.

        Raises:
            UserError: `name` is neither an embedded model nor a folder nor a hub id.
        """
        if name == countdown_tiny.NAME:
            return name
        if name not in EMBEDDED and not Path(name).expanduser().is_dir():
            self._note_if_made_later(name)
            if not is_hub_id(name):
                raise UserError(f"model.name: there is no model {name!r}{nearest(name, EMBEDDED)}.")
        folder = self.folder / "model"
        if not folder.is_dir():
            build_stand_in(folder)
        return str(folder)

    def data(self, source: str) -> str:
        """Return the stand-in for the data `source`. Local files and generated data stay as they are.

        Raises:
            UserError: no such file, or a data set on the hub that is not in `HUB_SHAPES`.
        """
        name, _ = split_name(source)
        if source.startswith(PREFIX) or data_path(source).exists():
            return source
        if self._note_if_made_later(name):
            return self._file(name, synthesized)
        if not is_hub_id(name):
            raise UserError(f"{name}: no such file.")
        known = HUB_SHAPES.get(name.partition(":")[0])
        if known is None:
            raise UserError(
                f"{name}: a rehearsal has no stand-in for this data set{nearest(name, HUB_SHAPES)}."
            )
        return f"{self._saved(name)}{source.removeprefix(name)}"

    def head(self, source: str, rows: int) -> str:
        """Write the first rows of the stand-in for `source` to a file and return its path.

        Generated data stay as they are.
        """
        found = self.data(source)
        if found.startswith(PREFIX):
            return found
        first = (record for _, record in islice(records(found), rows))
        target = self.folder / "heads" / f"{_as_file_name(source)}.jsonl"
        target.parent.mkdir(exist_ok=True)
        write_jsonl(target, (record for record in first if isinstance(record, dict)))
        return str(target)

    def _note_if_made_later(self, name: str) -> bool:
        later = Path(name).parts[:1] == (MADE_LATER,)
        if later:
            self.missing[name] = None
        return later

    def _file(self, name: str, row: Callable[[int], HubRow]) -> str:
        target = self.folder / "data" / f"{_as_file_name(name)}.jsonl"
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            write_jsonl(target, map(row, range(1, ROWS + 1)))
        return str(target)

    def _saved(self, name: str) -> Path:
        """Save the stand-in for a data set on the hub with the package `datasets`; return its folder.

        It has all splits of the data set, so that a wrong split in the plan is still an error.
        """
        datasets = import_extra("datasets", "datasets", f"--rehearse: {name}")
        shape = HUB_SHAPES[name.partition(":")[0]]
        target = self.folder / "data" / _as_file_name(name)
        if not target.exists():
            made = datasets.Dataset.from_list(list(map(shape.row, range(1, ROWS + 1))))
            with _no_bars():
                datasets.DatasetDict(dict.fromkeys(shape.splits, made)).save_to_disk(str(target))
        return target


def _as_file_name(source: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in source)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Disable the progress bars of `datasets` inside the block."""
    datasets = import_extra("datasets", "datasets", "--rehearse")
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
