"""The model that generated the answers in an evaluation's folder: a digest of its files, beside them.

The recipe of an evaluation names a model by its folder, where another training may have put other weights
since.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from boresight.core.errors import UserError
from boresight.core.files import expanded, write_text
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.models.source import EMBEDDED, locate
from boresight.runs.evaluation_folder import EvaluationFolder

FILE_TYPES = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
"""Endings of the files that decide what a model answers."""
PIECES, PIECE = 8, 1 << 20
"""Number and bytes of the pieces of a file that are read. Training changes weights everywhere, so that pieces
are enough, and a file of 16 GB is not read again at every start."""


def model_digest(name: str) -> str:
    """A digest of names, sizes and contents of the files of a model and of its adapters, hex.

    Of a model of the hub, also below adapters, only the name counts, as of `starter`.

    Raises:
        UserError: as `boresight.models.source.locate` does.
    """
    digest = hashlib.sha256()
    if name in EMBEDDED or not expanded(name).is_dir():
        digest.update(name.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()
    source = locate(name)
    for folder in (*source.adapters, Path(source.place)):
        digest.update(b"" if folder.is_dir() else source.place.encode())
        for file in sorted(folder.glob("*")):
            if file.suffix in FILE_TYPES and file.is_file():
                size = file.stat().st_size
                digest.update(f"{file.name} {size}\n".encode())
                digest.update(_pieces(file, size))
    return digest.hexdigest()


def write_model_digest(answers: Path, digest: str | None) -> None:
    """Write the digest of the model beside the file that will have its answers; None is no model's."""
    if digest is not None:
        write_text(_beside(answers), f"{digest}\n")


def refuse_other_models(files: EvaluationFolder, recipe: EvaluationRecipe) -> None:
    """Raise a `UserError` if a system's answers in the folder are of a model whose files have changed since.

    Answers of earlier versions have no digest and are accepted.
    """
    models = {name: section.model for name, section in recipe.systems.items() if section.model is not None}
    for name, model in models.items():
        for answers in (files.answers(name), files.documents(name)):
            known = _beside(answers)
            if not (answers.is_file() and known.is_file()):
                continue
            if known.read_text(encoding="utf-8", errors="replace").strip() != model_digest(model):
                raise UserError(
                    f"{answers}: systems.{name}.model ({model}) has other files than when it gave "
                    "these answers; delete this file to generate them again, or give another folder with "
                    "--run."
                )


def _beside(answers: Path) -> Path:
    return answers.with_suffix(".model")


def _pieces(file: Path, size: int) -> bytes:
    """The digest of a file's content, or of evenly spaced pieces of a large one."""
    digest = hashlib.sha256()
    whole = size <= PIECES * PIECE
    with file.open("rb") as stream:
        for number in range(1 if whole else PIECES):
            stream.seek(number * (size - PIECE) // (PIECES - 1) if number else 0)
            digest.update(stream.read(size if whole else PIECE))
    return digest.digest()
