"""Attach PEFT adapters to a model; an adapter tensor that does not fit raises an error that names it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from boresight.core.errors import UserError
from boresight.models.checkpoint.damaged import read_object
from boresight.models.checkpoint.finite import refuse_not_finite
from boresight.models.checkpoint.headers import Saved, file_header, no_safetensors
from boresight.models.checkpoint.leftovers import Allowed, Leftovers, refuse
from boresight.models.checkpoint.pretrained import one_sentence

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import nn
    from transformers import PreTrainedModel

WEIGHTS = "adapter_model.safetensors"
NAME = "default"
"""PEFT's default name of an adapter, which is a part of the names of all its parameters."""
SHARED = ("vblora_vector_bank", "prompt_encoder")
"""Parts of the names of PEFT parameters that adapter files contain under other names."""
OTHER_BASE = (
    "the adapter is incomplete or of another base: take both from one place, or accept the names with "
    "allow_weights"
)
MISMATCH = re.compile(
    r"size mismatch for (\S+): copying a param with shape (torch\.Size\([^()\n]*\)) from checkpoint, "
    r"the shape in current model is (torch\.Size\([^()\n]*\))\."
)


def put_adapter(base: PreTrainedModel, folder: Path, allowed: Allowed) -> PeftModel:
    """Attach the adapter in `folder` to `base`, in place, and extend the vocabulary of `base` to the
    adapter's.

    If `base` is on torch's `meta` device, the adapter has no weights, and the errors are the same.

    Raises:
        UserError: there are no safetensors, a file is truncated, tensors do not fit the base, or the adapter
            adds a prompt instead of changing weights.
    """
    settings = _settings(folder)
    saved = file_header(folder / WEIGHTS)
    _grow_vocabulary(base, folder, saved)
    with one_sentence(str(folder), "adapter"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the causes of PEFT's warnings are errors below
        adapted, leftovers = _load(base, folder, settings, saved)
    refuse(leftovers, str(folder), type(base).__name__, allowed, OTHER_BASE)
    own = ((_short([n])[0], p) for n, p in adapted.named_parameters() if f".{NAME}." in n)
    refuse_not_finite(own, str(folder))
    return adapted


def _settings(folder: Path) -> PeftConfig:
    from peft import PeftConfig

    if not (folder / WEIGHTS).is_file():
        raise UserError(no_safetensors(folder, WEIGHTS))
    if read_object(folder / "adapter_config.json").get("megatron_config"):
        raise UserError(
            f"model: the adapter of {str(folder)!r} needs Megatron, a library that is not used here."
        )
    with one_sentence(str(folder), "adapter"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = PeftConfig.from_pretrained(str(folder))
    if settings.is_prompt_learning:
        raise UserError(
            f"model: the adapter of {str(folder)!r} is a prompt, which changes no weights, so it cannot "
            "be merged into its base; take an adapter of low-rank matrices."
        )
    settings.inference_mode = True
    return cast("PeftConfig", settings)


def _load(
    base: PreTrainedModel, folder: Path, settings: PeftConfig, saved: Collection[str]
) -> tuple[PeftModel, Leftovers]:
    """Return the model with the adapter, and the tensors that are missing, unexpected or mismatched.

    PEFT saves an extended vocabulary twice and does not read the copy under `modules_to_save`, so that copy
    is not reported as unexpected.
    """
    from peft import PeftModel
    from peft.auto import MODEL_TYPE_TO_PEFT_MODEL_MAPPING

    make: Any = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(str(settings.task_type), PeftModel)
    adapted = make(base, settings, NAME)
    try:
        report = adapted.load_adapter(str(folder), NAME, torch_device="cpu")
    except KeyError as lacking:  # a module that the adapter replaces entirely
        return adapted, Leftovers(missing=_short([str(lacking.args[0])]))
    except RuntimeError as error:
        if mismatched := MISMATCH.findall(str(error)):
            found = ((_short([n])[0], _shape(a), _shape(b)) for n, a, b in mismatched)
            return adapted, Leftovers(mismatched=tuple(sorted(found)))
        raise
    missing = [n for n in report.missing_keys if NAME in n.split(".") and not any(s in n for s in SHARED)]
    copies = {n.replace(".weight", ".modules_to_save.weight") for n in saved}
    return adapted, Leftovers(_short(missing), _short(set(report.unexpected_keys) - copies))


def _short(names: Iterable[str]) -> tuple[str, ...]:
    """Return the sorted names of tensors without the parts that PEFT adds to all of them."""
    return tuple(sorted(n.removeprefix("base_model.model.").replace(f".{NAME}.", ".") for n in names))


def _shape(text: str) -> tuple[int, ...]:
    """Return the shape in a text such as `torch.Size([2, 3])` as a tuple."""
    return tuple(map(int, re.findall(r"\d+", text)))


def _grow_vocabulary(base: PreTrainedModel, folder: Path, saved: Mapping[str, Saved]) -> None:
    """Resize the embeddings of `base` to the size of those in the adapter, if that is larger.

    Raises:
        UserError: the adapter extends only one of two tables, so that some rows would have no weights.
    """
    tables = _tables(base)
    sizes = {name: _rows_in(saved, name) for name in tables}
    wanted = max((size for size in sizes.values() if size), default=0)
    if wanted <= cast("nn.Embedding", base.get_input_embeddings()).num_embeddings:
        return
    lacking = [name for name, size in sizes.items() if size != wanted]
    if lacking:
        raise UserError(
            f"model: the adapter of {str(folder)!r} is for {wanted:,} tokens and has no weights for the new "
            f"ones in {lacking[0]}; save it with {' and '.join(tables)} in modules_to_save."
        )
    base.resize_token_embeddings(wanted, mean_resizing=False)


def _tables(base: PreTrainedModel) -> list[str]:
    """Return the names of modules with one row per token: embeddings, and the output layer if it is not
    tied."""
    embeddings, head = base.get_input_embeddings(), base.get_output_embeddings()
    tables: list[nn.Module] = [embeddings]
    if head is not None and head.weight is not embeddings.weight:
        tables.append(head)
    return [name for name, module in base.named_modules() if any(module is table for table in tables)]


def _rows_in(saved: Mapping[str, Saved], table: str) -> int | None:
    """Return the number of rows of `table` in the adapter's file; None if the file does not contain it."""
    return next(
        (
            tensor.shape[0]
            for name, tensor in saved.items()
            if f".{table}." in f".{name}"
            and name.endswith("weight")
            and len(tensor.shape) == 2
            and "lora_" not in name
        ),
        None,
    )
