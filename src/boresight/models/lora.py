"""Low-rank adapters (LoRA): attach them, disable them for the reference model, save them, merge them.

With adapters, the frozen reference model needs no extra memory: it is the same model with adapters disabled.
Source: Hu et al. 2021 (arXiv 2106.09685); the implementation is PEFT's.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeGuard, cast

from boresight.config.lora import LoraConfig
from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.files import atomic_folder
from boresight.data.tokenizer import Tokenizer
from boresight.models.checkpoint.generation_config import save_pretrained, write_generation_config
from boresight.models.checkpoint.silence_hf import quiet_bars
from boresight.models.head import write_reading
from boresight.models.policy import Policy, causal_model

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel


PeftTask = Literal["CAUSAL_LM", "SEQ_CLS"]


def attach(model: Policy, config: LoraConfig, seed: int, *, task: PeftTask = "CAUSAL_LM") -> Policy:
    """Add new adapters and freeze all other weights; the model's outputs do not change.

    `model` is modified in place and becomes part of the result. Initial weights depend only on `seed`: the
    global random state is neither used nor changed. With `SEQ_CLS`, the scalar head is trained and saved in
    full, together with the adapters.

    Raises:
        UserError: `model` has adapters already, or none of its layers has the name of a target.
    """
    import torch
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    if has_adapters(model):
        raise UserError("model.lora: the model has adapters already; merge them before adding new ones.")
    base = causal_model(model)
    _check_targets(base, config.targets)
    settings = PeftLoraConfig(
        r=config.r,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # PEFT only divides it by r
        lora_dropout=config.dropout,
        target_modules=config.targets,
        task_type=task,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT uses a deprecated name of transformers
        warnings.filterwarnings("ignore", "fan_in_fan_out")  # PEFT sets it itself for GPT-2's Conv1D
        torch.default_generator.manual_seed(seed)  # leaves the generators of GPUs unchanged
        adapted = get_peft_model(base, settings)
    return cast("Policy", adapted.train(base.training))  # new layers start in training mode


def has_adapters(model: object) -> TypeGuard[PeftModel]:
    """Whether the model has PEFT adapters that are not merged into its weights."""
    from peft import PeftModel

    return isinstance(model, PeftModel)


@contextmanager
def adapters_off(model: Policy) -> Iterator[None]:
    """Inside the block the model is the reference model: adapters and dropout are disabled.

    Afterwards both are restored. For a model without adapters, only dropout is disabled.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with model.disable_adapter() if has_adapters(model) else nullcontext():
            yield
    finally:
        for module, training in modes:
            module.training = training


def merge(model: Policy) -> Policy:
    """Merge the adapters into the weights, in place, and return the plain model; return a model without
    adapters unchanged."""
    return model.merge_and_unload() if has_adapters(model) else model


def save(
    model: Policy,
    folder: str | Path,
    tokenizer: Tokenizer | None = None,
    weights: dict[str, torch.Tensor] | None = None,
    *,
    parents: bool = True,
) -> None:
    """Write the adapters, or the whole model if it has none, as safetensors.

    The folder is written atomically and replaces an existing one.

    Args:
        weights: weights by name, to be saved in place of the model's own.
        parents: create missing parent folders. If False, a missing parent folder is an error.
    """
    with atomic_folder(Path(folder), durable=True, parents=parents) as temporary:
        with quiet_bars():
            _write(model, temporary, weights)
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)


def _write(model: Policy, folder: Path, weights: dict[str, torch.Tensor] | None) -> None:
    if not has_adapters(model):
        save_pretrained(causal_model(model), folder, state_dict=weights)
        return
    # PEFT would otherwise ask the hub whether the base model's vocabulary was resized.
    model.save_pretrained(str(folder), save_embedding_layers=False, state_dict=weights)
    write_generation_config(causal_model(model), folder)  # the stop tokens, which PEFT leaves out
    write_reading(model, folder)
    (folder / "README.md").unlink(missing_ok=True)  # an empty template of a model card


def _check_targets(model: PreTrainedModel, targets: list[str] | str) -> None:
    """Raise a `UserError` if one of the target names does not exist; PEFT raises an error only if none
    exists."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if targets == "all-linear":
        return
    head = model.get_output_embeddings()
    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    }
    known = f"; known: {', '.join(sorted(linear))}"
    for target in targets:
        if target not in linear:
            hint = nearest(target, linear) if linear.intersection(targets) else known
            raise UserError(f"model.lora.targets: no linear layer is called {target!r}{hint}.")
