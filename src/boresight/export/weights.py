"""Write weights, config and tokenizer for other tools, and compare them with the run's model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rich.console import Console

from boresight.core.console import print_stage
from boresight.core.errors import UserError
from boresight.core.files import read_json, write_json
from boresight.core.wording import percent
from boresight.data.tokenizer import Tokenizer
from boresight.export.start import rounding_warning, start_model, training_sentence
from boresight.models.checkpoint.generation_config import save_pretrained
from boresight.models.checkpoint.silence_hf import quiet_bars
from boresight.models.policy import Policy

if TYPE_CHECKING:
    import torch

    from boresight.export.plan import ExportPlan

SHARD = "5GB"
PROBES = 4
PROBE_TOKENS = 96
"""Maximum numbers of conversations and of tokens of each, on which exported weights are compared."""
PROBE_TEXT = "The moon pulls the sea, and the tide rises twice a day. Two times three plus four is ten."
FOLDED = 1e-6
"""Maximum distance (`Drift.distance`) of a float32 export from its run; only the order of sums differs."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Distance of exported weights from the run's model.

    Attributes:
        tokens: number of tokens on which the models were compared.
        distance: mean KL(run's model || exported model) of next-token distributions, nats per token; for a
            reward model, the maximum difference of a score.
        agree: share of tokens with the same most likely next token; None for a reward model.
        model: name of the model that the exported one was compared with.
        trained: mean KL(run's model || start model) on the same tokens, nats per token; None if no weights
            were rounded, or if the start model is not available.
    """

    dtype: str
    tokens: int
    distance: float
    agree: float | None
    model: str = "the run's model"
    trained: float | None = None

    @property
    def sentence(self) -> str:
        """The comparison as a sentence, for the terminal and the model card."""
        if self.agree is None:
            return f"Read back in {self.dtype}, scores differ from the run's by at most {self.distance:.2g}."
        return (
            f"Read back in {self.dtype}, on {self.tokens:,} tokens: "
            f"KL from {self.model} {self.distance:.2g} nats per token, "
            f"the same most likely token in {percent(self.agree, 1)} of places."
            f"{training_sentence(self.trained)}"
        )

    @property
    def warning(self) -> str | None:
        """A warning if the KL due to rounding exceeds the KL due to training, else None."""
        return rounding_warning(
            self.dtype, self.distance, self.trained, "export float32 instead (leave --dtype out)"
        )


def write_merged(plan: ExportPlan, folder: Path, console: Console) -> Drift:
    """Write merged weights to `folder`, load them with transformers, and compare them with the run's model.

    Adapters are merged in float32, and the result is rounded to the plan's dtype.

    Raises:
        UserError: a float32 export does not reproduce the log-probabilities of the run's model.
    """
    import torch

    from boresight.export.plan import exported_model
    from boresight.models import lora
    from boresight.models.load import load_tokenizer
    from boresight.models.policy import causal_model

    tokenizer = load_tokenizer(str(plan.model))
    rows = probe_rows(plan.run, tokenizer)
    started = _start_outputs(plan, rows, console)
    print_stage(console, "loading the run's model")
    model = _load_run(plan)
    expected = outputs(model, rows)
    print_stage(console, f"writing the weights in {plan.dtype}")
    merged = causal_model(lora.merge(model))
    merged.to(getattr(torch, plan.dtype))
    with quiet_bars():
        save_pretrained(merged, folder, max_shard_size=SHARD)
    del model, merged  # one model in memory at a time
    write_tokenizer(tokenizer, folder)
    state_old_names(folder / "config.json")
    print_stage(console, "reading the weights back and comparing them with the run's model")
    found = compare_outputs(expected, outputs(_load_plain(plan, folder), rows), plan.dtype)
    trained = None if started is None else compare_outputs(expected, started, plan.dtype).distance
    drift = replace(found, model=exported_model(plan), trained=trained)
    if plan.dtype == "float32" and not drift.distance <= FOLDED:
        raise UserError(
            f"{plan.run}: the export would not be the run's model, so it was left: {drift.sentence}"
        )
    return drift


def write_adapter(plan: ExportPlan, folder: Path) -> None:
    """Write the adapter as it was trained, with its tokenizer.

    An embedded base model is referred to by its name and not by its local path, so that boresight finds it on
    any machine.
    """
    from boresight.export.plan import base_of
    from boresight.models.head import BESIDE_ADAPTER
    from boresight.models.load import load_tokenizer

    for name in ("adapter_model.safetensors", "generation_config.json", BESIDE_ADAPTER):
        if (plan.model / name).is_file():
            shutil.copyfile(plan.model / name, folder / name)
    settings = read_json(plan.model / "adapter_config.json")
    settings["base_model_name_or_path"] = base_of(plan)
    write_json(folder / "adapter_config.json", settings, indent=2)
    write_tokenizer(load_tokenizer(str(plan.model)), folder)


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer and chat template in a form that transformers 4 and 5 both read.

    transformers 5 writes a tokenizer class that transformers 4 does not have, and additional special tokens
    as a list where transformers 4 expects a mapping. It also writes arguments of this machine's loading call,
    which are removed.
    """
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = read_json(path)
    for private in ("is_local", "local_files_only"):
        settings.pop(private, None)
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    write_json(path, settings, indent=2)


def state_old_names(path: Path) -> None:
    """Add to a model's config the old names of settings that transformers 5 has renamed.

    Without them, a program that only reads the old name `rope_theta` would silently use its own default and
    generate nonsense.
    """
    settings = read_json(path)
    if "dtype" in settings:
        settings["torch_dtype"] = settings["dtype"]
    rope = settings.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:  # some models have one for each kind of layer
        settings["rope_theta"] = rope["rope_theta"]
        if rope.get("rope_type", "default") != "default":
            settings["rope_scaling"] = {k: v for k, v in rope.items() if k != "rope_theta"}
    write_json(path, settings, indent=2)


def probe_rows(run: Path, tokenizer: Tokenizer) -> list[list[int]]:
    """Return token ids of the run's first prompts with their answers, or of a fixed text if it has none."""
    from boresight.data.chat import encode_answer
    from boresight.reports.read_run import read_run

    rows = [
        encode_answer(tokenizer, sample.prompt, sample.answers[-1] or "", sample.id)
        for sample in read_run(run).samples[:PROBES]
    ]
    if not rows:
        return [tokenizer.backend_tokenizer.encode(PROBE_TEXT, add_special_tokens=False).ids]
    return [[*row.prompt.tolist(), *row.completions[0].ids.tolist()][:PROBE_TOKENS] for row in rows]


def outputs(model: Policy, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Compute the logits of every row, float32: `(tokens, vocabulary)`, or `(1, 1)` for a reward model."""
    import torch

    with torch.inference_mode():
        found = [model(input_ids=torch.tensor([list(row)], device=model.device)).logits for row in rows]
    return [logits.float().reshape(-1, logits.shape[-1]).cpu() for logits in found]


def compare_outputs(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], dtype: str) -> Drift:
    """Compare the outputs of the run's model, `ours`, with those of another model, `theirs`."""
    import torch

    tokens = sum(len(logits) for logits in ours)
    if ours[0].shape[-1] == 1:
        worst = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
        return Drift(dtype, tokens, worst, None)
    distance, same = 0.0, 0
    for a, b in zip(ours, theirs, strict=True):
        p, q = a.double().log_softmax(-1), b.double().log_softmax(-1)
        distance += float(torch.nn.functional.kl_div(q, p, reduction="sum", log_target=True))
        same += int((a.argmax(-1) == b.argmax(-1)).sum())
    return Drift(dtype, tokens, max(0.0, distance / tokens), same / tokens)


def size_in_mb(folder: Path) -> float:
    """Return the size of all files in a folder, in megabytes (10⁶ bytes)."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _start_outputs(
    plan: ExportPlan, rows: Sequence[Sequence[int]], console: Console
) -> list[torch.Tensor] | None:
    """Compute the outputs of the start model, to compare the effect of rounding with that of training.

    The result is None if nothing is rounded (float32) or if the start model is not available.
    """
    if plan.dtype == "float32":
        return None
    print_stage(console, "measuring the start model")
    start = start_model(plan)
    return None if start is None else outputs(start, rows)


def _load_run(plan: ExportPlan) -> Policy:
    from boresight.models.load import load_model
    from boresight.models.reward import load_reward_model

    if plan.head == "score":
        return load_reward_model(str(plan.model), device="cpu")
    return load_model(str(plan.model), device="cpu", merge=False)


def _load_plain(plan: ExportPlan, folder: Path) -> Policy:
    """Load an exported folder with transformers alone, as a user would."""
    from boresight.models.checkpoint.leftovers import Allowed, refuse
    from boresight.models.checkpoint.pretrained import BuildOptions, read_weights
    from boresight.models.source import ModelSource

    model, leftovers = read_weights(
        ModelSource(str(folder), cached_only=True), str(folder), plan.head, BuildOptions("auto")
    )
    refuse(leftovers, str(folder), type(model).__name__, Allowed())
    return cast("Policy", model.eval())
