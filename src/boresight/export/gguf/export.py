"""Write the GGUF files of a run, read each back, and compare it with the run's model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console

from boresight.core.console import print_stage, print_warning
from boresight.core.files import write_text
from boresight.core.wording import plural
from boresight.data.rows import Row
from boresight.data.stop_tokens import stop_token_ids, wire_stop_tokens
from boresight.data.tokenizer import Tokenizer
from boresight.export.gguf.answers import answer_checks, checked_prompts
from boresight.export.gguf.architecture import refuse_unsupported
from boresight.export.gguf.compare import (
    GgufFile,
    answer_rows,
    divergence,
    mean_kl,
    read_back,
    refuse_other_model,
    refuse_other_tokens,
)
from boresight.export.gguf.llama_cpp import quantize_file, quantizer
from boresight.export.gguf.modelfile import NO_TEMPLATE, find_turns, render_modelfile
from boresight.export.gguf.quantization import QUANTIZATIONS
from boresight.export.gguf.write import write_gguf
from boresight.export.plan import exported_model
from boresight.export.start import start_model
from boresight.models.policy import Policy, causal_model
from boresight.stats.paired import Measured

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from boresight.export.plan import ExportPlan


def write_gguf_files(plan: ExportPlan, folder: Path, name: str, console: Console) -> list[GgufFile]:
    """Write one file per quantization of `plan` to `folder`, and a Modelfile for the first one.

    Every file is read back and compared with the run's model, so two models are in memory in float32.

    Args:
        name: name of the model, with which the names of the files begin.

    Raises:
        UserError: the architecture or the tokenizer is not supported, llama.cpp is needed and not installed,
            or a file differs from the run's model by more than rounding.
    """
    from boresight.models import lora
    from boresight.models.load import load_model, load_tokenizer

    if any(QUANTIZATIONS[q].tensors is None for q in plan.quantizations):
        quantizer()  # raises an error before the model is loaded
    if plan.answers:
        checked_prompts(plan.run, plan.answers)  # raises an error before the model is loaded
    print_stage(console, "loading the run's model")
    tokenizer = load_tokenizer(str(plan.model))
    model = causal_model(lora.merge(load_model(str(plan.model), device="cpu", merge=False)))
    refuse_unsupported(model.config)
    wire_stop_tokens(cast("Policy", model), tokenizer)
    rows = answer_rows(plan.run, tokenizer)
    trained = training_kl(plan, cast("Policy", model), rows, console)
    found = []
    for quantization in plan.quantizations:
        file = folder / f"{name}-{quantization}.gguf"
        print_stage(console, f"writing {file.name}")
        _write(file, model, tokenizer, quantization, name, console)
        compared = compare_file(file, model, tokenizer, rows, quantization, plan, console)
        found.append(replace(compared, trained=trained))
        console.print(found[-1].sentence, markup=False, highlight=False)
        if found[-1].warning:
            print_warning(console, found[-1].warning)
    turns = find_turns(tokenizer)
    if turns is None:
        console.print(f"Modelfile: {NO_TEMPLATE}", markup=False, highlight=False)
    stops = [tokenizer.convert_ids_to_tokens(id) for id in stop_token_ids(cast("Policy", model))]
    write_text(folder / "Modelfile", render_modelfile(found[0].file, turns, stops))
    return found


def training_kl(plan: ExportPlan, model: Policy, rows: Sequence[Row], console: Console) -> float | None:
    """Compute the mean KL(model || start model) per token of the answers, in nats.

    The result is None if the start model is not available.
    """
    print_stage(console, f"comparing with the start model on {plural(len(rows), 'answer')}")
    start = start_model(plan)
    return None if start is None else mean_kl(divergence(model, start, rows, console)[0]).value


def compare_file(
    file: Path,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    quantization: str,
    plan: ExportPlan,
    console: Console,
) -> GgufFile:
    """Read a file back, compare it with `model`, and measure the effect of quantization.

    Raises:
        UserError: the file cannot be read back, or differs from the model by more than rounding.
    """
    print_stage(console, f"reading {file.name} back")
    theirs = read_back(file)
    refuse_other_model(model, theirs, QUANTIZATIONS[quantization].error, file.name)
    refuse_other_tokens(file, tokenizer, rows)
    print_stage(console, f"comparing {file.name} with the run's model on {plural(len(rows), 'answer')}")
    by_row, agree = divergence(cast("Policy", model), cast("Policy", theirs), rows, console)
    size = file.stat().st_size / 1e6
    checks: tuple[Measured, ...] = ()
    if plan.answers:
        asked = checked_prompts(plan.run, plan.answers)
        checks = answer_checks(cast("Policy", theirs), tokenizer, asked, plan.run, console)
    tokens, kl = sum(map(len, by_row)), mean_kl(by_row)
    return GgufFile(quantization, file.name, size, tokens, kl, agree, checks, exported_model(plan))


def _write(
    file: Path, model: PreTrainedModel, tokenizer: Tokenizer, quantization: str, name: str, console: Console
) -> None:
    if QUANTIZATIONS[quantization].tensors is not None:
        write_gguf(file, model, tokenizer, quantization, name, console)
        return
    half = file.with_suffix(".half")
    write_gguf(half, model, tokenizer, "f16", name, console)
    quantize_file(half, file, quantization)
    half.unlink()
