"""Implement `boresight export`, which writes a run's model as a folder that other tools can load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from boresight.core.console import print_warning
from boresight.core.errors import UserError
from boresight.core.files import atomic_folder
from boresight.core.interrupt import Interrupted
from boresight.export.plan import Form, export_plan, notes
from boresight.export.push import Push, push_folder

if TYPE_CHECKING:
    from boresight.export.gguf.compare import GgufFile
    from boresight.export.weights import Drift


def export(
    run: Path,
    to: Path,
    form: Form,
    dtype: str,
    console: Console,
    gguf: str | None = None,
    answers: int = 0,
    push: Push | None = None,
) -> Path:
    """Write the model of `run` with a model card to the new folder `to`, and return `to`.

    The folder is written atomically. Adapters are merged in float32, and the result is rounded once, to
    `dtype`. Merged weights are loaded again with transformers alone and compared with the run's model; in
    float32 they must give the same log-probabilities.

    Args:
        gguf: quantizations separated by commas; GGUF files for llama.cpp and Ollama are then written instead
            of merged weights.
        answers: maximum number of evaluation prompts that the model in each GGUF file answers.
        push: repository to which the folder is uploaded afterwards.

    Raises:
        UserError: no finished run, a folder that is not empty, an option that does not apply, or weights that
            differ from the run's after they are read back.
    """
    from boresight.export.card import write_card
    from boresight.export.gguf.export import write_gguf_files
    from boresight.export.weights import size_in_mb, write_adapter, write_merged

    plan = export_plan(run, form, dtype, gguf, answers)
    if to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise UserError(f"{to}: something is there already; give a new folder with --to.")
    if to.is_dir() and to.samefile(Path.cwd()):
        raise UserError(f"{to}: is the folder that you are in, which is replaced; give a new one with --to.")

    with unless_interrupted(to), atomic_folder(to, replace=False) as folder:
        readback: Drift | list[GgufFile] | None = None
        if plan.form == "merged":
            readback = write_merged(plan, folder, console)
            console.print(readback.sentence, markup=False, highlight=False)
            if readback.warning:
                print_warning(console, readback.warning)
        elif plan.form == "gguf":
            readback = write_gguf_files(plan, folder, to.name, console)
        else:
            write_adapter(plan, folder)
        write_card(plan, readback, folder, to.name)
        for file in folder.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)  # weights are written for their owner alone
    for note in notes(plan):
        console.print(note, markup=False, highlight=False)
    console.print(f"exported: {to} ({size_in_mb(to):,.0f} MB)", markup=False, highlight=False)
    if push is not None:
        push_folder(to, push, console)
    return to


@contextmanager
def unless_interrupted(to: Path) -> Iterator[None]:
    """Context manager that converts Ctrl-C into an `Interrupted` with a message that `to` was not written."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {to} was not written.") from None
