"""`boresight export`: a run's model as a folder that other tools load, with a card that says what it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from rich.console import Console

from boresight.errors import UserError
from boresight.models.load import embedded_in
from boresight.suggest import nearest

Form = Literal["merged", "adapter"]
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is exported: `form` and `dtype` of the weights, and whether they end in a score or in tokens."""

    run: Path
    form: Form
    dtype: str
    head: Literal["lm", "score"]

    @property
    def model(self) -> Path:
        """Where the run's own weights are."""
        return self.run / "model"


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
    from boresight.models.starter import build_once

    plan = plan_of(run, form, dtype)
    if to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise UserError(f"{to}: something is there already; give a new folder with --to.")

    def build(folder: Path) -> None:
        drift = write_merged(plan, folder) if form == "merged" else write_adapter(plan, folder)
        if drift is not None:
            console.print(drift.sentence, markup=False, highlight=False)
        write_card(plan, drift, folder, to.name)
        for file in folder.iterdir():
            file.chmod(0o644)  # weights are written for their owner alone

    build_once(to, build)
    for note in notes(plan):
        console.print(note, markup=False, highlight=False)
    console.print(f"exported: {to} ({size_in_mb(to):,.0f} MB)", markup=False, highlight=False)
    return to


def plan_of(run: Path, form: Form, dtype: str) -> Plan:
    """Check the run against what was asked. Raises `UserError` where the two do not fit."""
    if dtype not in DTYPES:
        raise UserError(f"--dtype: {dtype!r} is not a dtype of weights{nearest(dtype, DTYPES)}.")
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run}: this is not a run folder; give the folder that `boresight train` wrote.")
    if not (run / "model").is_dir():
        raise UserError(f"{run}: the run has not finished; go on with `boresight train … --resume`.")
    if form == "adapter" and not (run / "model/adapter_config.json").is_file():
        raise UserError(f"{run}: the run has no adapter apart from its weights; leave --adapter out.")
    if form == "adapter" and dtype != "float32":
        raise UserError("--dtype rounds merged weights; an adapter is exported as it was trained, float32.")
    method = (yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")).get("method") or {}).get(
        "name"
    )
    return Plan(run, form, dtype, "score" if method == "reward" else "lm")


def notes(plan: Plan) -> list[str]:
    """What somebody who passes the folder on should know."""
    if plan.form == "merged":
        return []
    base = base_of(plan)
    if embedded_in(base):
        return ["the adapter's base comes with boresight and with nothing else; --merged stands alone."]
    if Path(base).is_dir():
        return [f"the adapter's base is the folder {base} of this machine; --merged stands alone."]
    return [f"the adapter needs its base model {base}."]


def base_of(plan: Plan) -> str:
    """The base model an adapter names: a hub id, an embedded model's folder name or a local folder."""
    text = (plan.model / "adapter_config.json").read_text(encoding="utf-8")
    base = str(json.loads(text)["base_model_name_or_path"])
    # An embedded model's folder differs between machines and is known by its name.
    return Path(base).name if embedded_in(base) else base
