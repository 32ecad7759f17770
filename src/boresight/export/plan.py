"""Plan an export: validate its options against the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.plugins import is_installed
from boresight.models.head import OutputHead, head_of
from boresight.models.source import embedded_in, note_on_base
from boresight.reports.read_run import refuse_evaluation
from boresight.training.checkpoints.resume_command import resume_command

Form = Literal["merged", "adapter", "gguf"]


DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """Plan of an export: the run, the form and dtype of the weights, and the kind of output head.

    Attributes:
        quantizations: quantizations of the form `gguf`; one file is written for each.
        answers: maximum number of evaluation prompts that the model in each GGUF file answers.
    """

    run: Path
    form: Form
    dtype: str
    head: OutputHead
    quantizations: tuple[str, ...] = ()
    answers: int = 0

    @property
    def model(self) -> Path:
        """Folder with the run's weights."""
        return self.run / "model"


def export_plan(run: Path, form: Form, dtype: str, gguf: str | None = None, answers: int = 0) -> ExportPlan:
    """Validate the options of an export against the run, and return the plan.

    Args:
        gguf: quantizations for llama.cpp, separated by commas; GGUF files are then written instead of merged
            weights.
        answers: maximum number of evaluation prompts that the model in each GGUF file answers.

    Raises:
        UserError: no finished run, an unknown dtype or quantization, or options that exclude each other or do
            not apply to the run's model.
    """
    if dtype not in DTYPES:
        raise UserError(f"--dtype: {dtype!r} is not a dtype of weights{nearest(dtype, DTYPES)}.")
    refuse_evaluation(run)
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run}: this is not a run folder; give the folder that `boresight train` wrote.")
    if not (run / "model").is_dir():
        raise UserError(f"{run}: the run has not finished; `{resume_command(run)}` resumes it.")
    if form == "adapter" and not (run / "model/adapter_config.json").is_file():
        raise UserError(f"{run}: the run has no adapter apart from its weights; leave --adapter out.")
    if form == "adapter" and dtype != "float32":
        raise UserError("--dtype rounds merged weights; an adapter is exported as it was trained, float32.")
    if gguf is None and answers:
        raise UserError("--answers is for the files of --gguf; leave it out.")
    if gguf is None:
        return ExportPlan(run, form, dtype, head_of(run / "model"))
    return _gguf_plan(run, form, dtype, gguf, answers)


def _gguf_plan(run: Path, form: Form, dtype: str, gguf: str, answers: int) -> ExportPlan:
    from boresight.export.gguf.quantization import parse_quantizations

    quantizations = parse_quantizations(gguf)
    if form == "adapter":
        raise UserError("--gguf writes whole weights; leave --adapter out.")
    if dtype != "float32":
        raise UserError("--dtype rounds merged weights; --gguf names the precision of its files.")
    head = head_of(run / "model")
    if head == "score":
        raise UserError(f"{run}: a reward model gives scores, which GGUF files cannot; leave --gguf out.")
    if not is_installed("gguf"):
        raise UserError("--gguf: the package gguf is not installed; run `pip install 'boresight[gguf]'`.")
    return ExportPlan(run, "gguf", dtype, head, quantizations, answers)


def notes(plan: ExportPlan) -> list[str]:
    """Return notes on the base model for users who distribute the exported folder."""
    found = [note_on_4_bits(plan), _note_on_adapter(plan) if plan.form == "adapter" else None]
    return [note for note in found if note]


def note_on_4_bits(plan: ExportPlan) -> str | None:
    """Return a sentence if an adapter of the exported model was trained on a 4-bit base, else None.

    The sentence contains no local path, since it is also part of the model card.
    """
    if note_on_base(str(plan.model)) is None:
        return None
    exported = "The adapter belongs" if plan.form == "adapter" else "The exported weights belong"
    return (
        "The adapter was trained and evaluated on a base in 4 bits (NF4). "
        f"{exported} to the unquantized base; the run's numbers are those of the 4-bit model, and the effect "
        "of the difference was not measured."
    )


def exported_model(plan: ExportPlan) -> str:
    """Return a name for the model that exported files are compared with.

    This is the run's model or, if its base was in 4 bits, the run's adapter on the unquantized base.
    """
    return "the run's model" if note_on_4_bits(plan) is None else "the run's adapter on the unquantized base"


def _note_on_adapter(plan: ExportPlan) -> str:
    base = base_of(plan)
    if embedded_in(base):
        return "the adapter's base comes with boresight and with nothing else; --merged stands alone."
    if Path(base).is_dir():
        return f"the adapter's base is the folder {base} of this machine; --merged stands alone."
    return f"the adapter needs its base model {base}."


def base_of(plan: ExportPlan) -> str:
    """Return the adapter's base model: a hub id, the folder name of an embedded model, or a local folder."""
    text = (plan.model / "adapter_config.json").read_text(encoding="utf-8")
    base = str(json.loads(text)["base_model_name_or_path"])
    # The folder of an embedded model differs between machines, but its name does not.
    return Path(base).name if embedded_in(base) else base
