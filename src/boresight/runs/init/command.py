"""The command `boresight init`: inspect data and model, choose settings, optionally measure the learning
rate, and write one file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from boresight.config.dotted import flat
from boresight.config.recipe import Recipe
from boresight.core.console import name_table
from boresight.core.errors import UserError
from boresight.core.files import refuse_taken, write_new_text
from boresight.data.demo import split_name
from boresight.data.reading.renaming.mapping import Mapped
from boresight.methods.published import TRY_FIRST
from boresight.models.load import device_called
from boresight.runs.check.lr_ramp import FEWEST
from boresight.runs.check.probe import probe_run
from boresight.runs.doctor import device_lines, room_for
from boresight.runs.init.choices import OWN_REWARD, Setting, choose_settings, input_kind, parsed
from boresight.runs.init.data_facts import DataFacts, read_facts
from boresight.runs.init.model_facts import ModelFacts, look_at_model
from boresight.runs.init.recipe_text import recipe_text
from boresight.training.memory import available_gb

UNSAFE = re.compile(r"[^\w.-]+")


def write_recipe(
    source: str,
    console: Console,
    *,
    model: str = "starter",
    method: str | None = None,
    layout: str | None = None,
    columns: Mapped | None = None,
    to: Path | None = None,
    probe: bool = False,
    force: bool = False,
) -> Path:
    """Write a commented recipe for the data, the model and this machine; returns its path.

    Args:
        source: as for `data.train`.
        model: `starter`, a folder or a hub id.
        method: name of a method; None for the usual one of the kind of data.
        layout: as `data.layout`, for data in which detection finds two layouts.
        columns: as `data.columns`, for a file whose columns have other names.
        to: file to write; None for `DATA-METHOD.yaml` in the working directory.
        probe: measure the learning rate by a ramp, which trains for a few steps.
        force: replace an existing file.

    Raises:
        UserError: the data or the model cannot be used, the file exists, or the ramp cannot be made. Nothing
            is written then.
    """
    if to is not None:
        refuse_taken(to, force, "--to")
    kind = input_kind(method).data if method else None
    seen, tokenizer = look_at_model(model)
    data = read_facts(source, kind, layout, columns, tokenizer)
    method = method or TRY_FIRST[data.kind]
    if probe and data.kind == "prompt":
        raise UserError(
            f"--probe: a ramp trains on given rows, and {method} samples its own; leave it out here, and run "
            "`boresight check RECIPE --probe` on what is written."
        )
    target = to or Path(f"{_stem(source)}-{method}.yaml")
    refuse_taken(target, force, "--to")
    free = available_gb(device_called(None))
    settings = choose_settings(data, seen, method, free)
    recipe = parsed(settings)
    console.print(name_table(_seen(data, seen, free), style="cyan"))
    if probe:
        settings = _with_measured_rate(settings, recipe, target, console)
    write_new_text(target, recipe_text(_title(target), settings), force, "--to")
    console.print(f"wrote {target}", markup=False, highlight=False, soft_wrap=True)
    for line in _next(target, data, measured=probe):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return target


def _stem(source: str) -> str:
    """Return a file name without ending, made from the name of the data: `chat` for `chat.jsonl.gz`."""
    last = split_name(source)[0].rstrip("/").rpartition("/")[2]
    return UNSAFE.sub("-", last.partition(".")[0]).strip("-") or "recipe"


def _seen(data: DataFacts, model: ModelFacts, free_gb: float) -> Iterator[tuple[str, str]]:
    """Yield `(label, text)` for data, lengths, model, devices and the memory that is needed."""
    median, nearly_all, longest = data.quantiles
    yield "data", data.sentence
    yield "lengths", f"median {median:,} tokens, 99 % within {nearly_all:,}, longest {longest:,}"
    yield "model", f"{model.size.name}: {model.size.parameters / 1e6:,.0f}M parameters"
    yield from device_lines()
    for lora, name in ((True, "LoRA"), (False, "all weights")):
        needed = model.size.needed_gb(lora)
        room = {"yes": "fits", "perhaps": "may fit", "no": "does not fit"}[room_for(needed, free_gb)]
        yield name, f"about {needed:.1f} GB, estimated to a factor of two: {room} into {free_gb:.1f} GB"


def _with_measured_rate(
    settings: list[Setting], recipe: Recipe, target: Path, console: Console
) -> list[Setting]:
    """Measure a ramp, and return the settings with the rate and length that it suggests.

    Prints the ramp, and the command that trains with the suggested settings from the recipe that will be
    written to `target`.
    """
    probed = probe_run(recipe.changed(["optim.lr=auto"]), console, arguments=[str(target)])
    probed.show(console)
    measured = flat(recipe.changed(probed.suggestion.settings).to_dict())
    keys = {setting.partition("=")[0] for setting in probed.suggestion.settings}
    why = "measured by a ramp of this model on these rows"
    return [replace(s, value=measured[s.key], why=why) if s.key in keys else s for s in settings]


def _title(target: Path) -> str:
    return (
        "Written by `boresight init`. Every field: boresight train --help\n"
        f"boresight check {shlex.quote(str(target))}\n"
        f"boresight train {shlex.quote(str(target))}"
    )


def _next(target: Path, data: DataFacts, *, measured: bool) -> Iterator[str]:
    """Yield lines with the commands to continue with; `measured`: a ramp was made already."""
    if data.kind == "prompt" and data.verifier is None:
        yield f"next: write the reward function {OWN_REWARD} (docs/rewards.md), then"
    else:
        yield "next:"
    file = shlex.quote(str(target))
    yield f"  boresight check {file}{'' if measured else _probe(data)}"
    yield f"  boresight train {file}"


def _probe(data: DataFacts) -> str:
    """Return the option `--probe` with a comment on what it measures; empty if there are too few rows."""
    if data.kind == "prompt":
        return " --probe  # also samples answers and scores them"
    if data.rows < 3 * FEWEST:  # the ramp measures one third of them
        return ""
    return " --probe  # measures how much the run will learn: about a minute for the starter"
