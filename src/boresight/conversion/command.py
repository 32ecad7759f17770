"""Implement `boresight convert trl-config`: translate a config, print every outcome, and write a recipe."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from boresight.conversion.convert import Converted, convert_options
from boresight.conversion.translation import refuse_unknown_trainer
from boresight.conversion.trl_file import read_trl_file, with_words
from boresight.conversion.trl_options import HEADINGS, trl_version
from boresight.core.console import name_table, print_warning
from boresight.core.errors import UserError
from boresight.core.files import write_new_text
from boresight.core.wording import plural
from boresight.runs.init.recipe_text import recipe_text

WIDTH = 106
"""Maximum number of characters of a comment line."""
LEFT_OUT = "Not set in the config, and different here"


def convert_trl_config(
    file: Path,
    console: Console,
    *,
    options: Sequence[str] = (),
    out: Path = Path("recipe.yaml"),
    trainer: str | None = None,
    processes: int | None = None,
    rows: int | None = None,
    force: bool = False,
) -> bool:
    """Convert a TRL config to a recipe, write the recipe, and print the outcome for every option.

    Args:
        options: additional options of the form `name=value`, as on TRL's command line.
        out: file of the recipe.
        trainer: name of the trainer, such as `dpo`; None infers it from the options.
        processes: number of processes of the run with TRL; None takes the number in the config, or 1.
        rows: number of training rows, for settings that depend on it.
        force: whether to replace an existing file `out`.

    Returns:
        Whether everything was translated and nothing must be filled in.

    Raises:
        UserError: `file` is not a TRL config or has a wrong value, or `out` exists. Nothing is written then.
    """
    if out.resolve() == file.resolve():
        raise UserError(f"--out: {out} is the config that is read; give another file.")
    if trainer is not None:
        refuse_unknown_trainer(trainer)
    raw = with_words(read_trl_file(file), options)
    found = convert_options(raw, str(file), trainer=trainer, processes=processes, rows=rows)
    write_new_text(out, recipe_text(_title(found, file, out), found.settings), force, "--out")
    for heading, entries in _lists(found):
        console.print(f"{heading}: {len(entries)}", style="bold")
        console.print(name_table(entries, style="cyan"))
    for key, what in found.to_set.items():
        print_warning(console, f"to fill in: {key}, {what}")
    console.print(f"wrote {out}", markup=False, highlight=False, soft_wrap=True)
    next_command = f"next: boresight check {shlex.quote(str(out))}"
    console.print(next_command, markup=False, highlight=False, soft_wrap=True)
    return found.complete


def _lists(found: Converted) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield every list of options that is not empty, as `(heading, [(option, text), ...])`."""
    for group, heading in HEADINGS.items():
        if found.lists[group]:
            yield heading, found.lists[group]
    if found.left_out:
        yield LEFT_OUT, found.left_out


def _title(found: Converted, file: Path, out: Path) -> str:
    """Return the comment at the top of the recipe."""
    recipe, run = shlex.quote(str(out)), f" --run {shlex.quote(found.run)}" if found.run else ""
    lines = [
        f"Written by `boresight convert trl-config` from {file.name}.",
        f"TRL {trl_version()}, {found.trainer}, {plural(found.processes, 'process')}.",
        f"boresight check {recipe}",
        f"boresight train {recipe}{run}",
    ]
    for heading, entries in _lists(found):
        lines += ["", f"{heading}:"]
        for name, text in entries:
            lines += textwrap.wrap(f"- {name}: {text}", WIDTH, subsequent_indent="  ")
    return "\n".join(lines)
