"""`boresight export`: a run's model as a folder that other tools load, with a card that says what it is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from boresight.core.errors import UserError
from boresight.core.files import atomic_folder
from boresight.export.plan import Form, export_plan, notes


def export(run: Path, to: Path, form: Form, dtype: str, console: Console) -> Path:
    """Write the model of `run` to the folder `to`, which appears complete or not at all.

    Merged weights are folded in float32 and rounded once, to `dtype`. Before the folder gets its name it is
    loaded again with transformers alone and must say what the run's model says.

    Raises:
        UserError: no finished run, a folder in use, an option that cannot act, or weights that read back
            otherwise than they were.
    """
    from boresight.export.card import write_card
    from boresight.export.weights import size_in_mb, write_adapter, write_merged

    plan = export_plan(run, form, dtype)
    if to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise UserError(f"{to}: something is there already; give a new folder with --to.")

    with atomic_folder(to, replace=False) as folder:
        drift = None
        if form == "merged":
            drift = write_merged(plan, folder)
            console.print(drift.sentence, markup=False, highlight=False)
        else:
            write_adapter(plan, folder)
        write_card(plan, drift, folder, to.name)
        for file in folder.iterdir():
            file.chmod(0o644)  # weights are written for their owner alone
    for note in notes(plan):
        console.print(note, markup=False, highlight=False)
    console.print(f"exported: {to} ({size_in_mb(to):,.0f} MB)", markup=False, highlight=False)
    return to
