"""Load a model or its tokenizer by name: `starter`, a local folder, or a Hugging Face hub id."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError, first_line
from boresight.core.files import read_json
from boresight.core.silence_hf import quiet_bars
from boresight.data.tokenizer import Tokenizer
from boresight.models.policy import Policy

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

EMBEDDED = ("starter", "countdown-tiny")
"""Models that need no network; each lives in a cache folder whose name begins with its own."""
DTYPES = ("float32", "bfloat16", "float16", "float64")
HUB_TIMEOUT = 5.0
"""Seconds until the hub counts as unreachable."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model's files come from.

    `place` is a folder or a hub id. `cached_only` says that the hub cannot be asked, so its local
    cache must do. `adapters` are the folders of the PEFT adapters on top of it, in order: a run that
    started from another run's adapter has two.
    """

    place: str
    cached_only: bool = False
    adapters: tuple[Path, ...] = ()


def load_tokenizer(name: str, chat_template: str | None = None) -> Tokenizer:
    """The tokenizer of the model called `name`; an adapter's own where it has one.

    Args:
        chat_template: replaces the tokenizer's own: `chatml`, `plain` or a Jinja file.

    Raises:
        UserError: no such model or template, or a tokenizer without character offsets (a "slow" one).
    """
    from transformers import AutoTokenizer

    from boresight.data.chat import ensure_chat_template

    place, cached_only = _tokenizer_place(name)
    try:
        found = AutoTokenizer.from_pretrained(place, local_files_only=cached_only)
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load(name, "tokenizer", error) from error
    if not found.is_fast:
        raise UserError(
            f"model: the tokenizer of {name!r} has no tokenizer.json, which the loss mask needs; "
            "choose a model that ships one."
        )
    tokenizer = cast("Tokenizer", found)
    if chat_template is not None:
        ensure_chat_template(tokenizer, chat_template)
    return tokenizer


def load_model(
    name: str,
    dtype: str = "float32",
    device: str | None = None,
    *,
    attention: str = "sdpa",
    merge: bool = True,
) -> Policy:
    """The causal language model called `name`, in evaluation mode.

    Weights are float32 by default: they are the master weights of training, and an update of 1e-6
    is lost in bfloat16. Dropout stays as the model's config has it. Only safetensors are read, and
    no code that comes with a model is run.

    Args:
        dtype: one of `DTYPES`.
        device: such as `cpu` or `cuda:0`; None is the first CUDA device, or else the CPU.
        attention: name of an attention implementation known to transformers.
        merge: fold PEFT adapters into their base, so that training starts from, and measures its KL
            against, the adapted model. False leaves the last one in a `PeftModel`, whose base is one
            switch away.

    Raises:
        UserError: no such model, dtype, or no safetensors in it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if dtype not in DTYPES:
        raise UserError(f"model.dtype: {dtype!r} is not a dtype{nearest(dtype, DTYPES)}.")
    source = locate(name)
    with quiet_bars(source.cached_only):  # a download keeps its bar
        try:
            model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
                source.place,
                dtype=getattr(torch, dtype),
                attn_implementation=attention,
                use_safetensors=True,
                local_files_only=source.cached_only,
            )
        except (OSError, ValueError, KeyError) as error:
            raise _cannot_load(name, "model", error) from error
    for adapter in source.adapters:
        base = cast("PreTrainedModel", model)  # every adapter but the last is merged
        model = _with_adapter(base, adapter, merge or adapter != source.adapters[-1])
    return cast("Policy", model.to(_device(device)).eval())


def locate(name: str) -> ModelSource:
    """Find what `name` stands for, without loading it.

    A folder may be a model, a PEFT adapter, or a run folder that holds either in `model/`. A hub id
    is looked up once with a short time limit; when the hub cannot be reached, its local cache serves.

    Raises:
        UserError: nothing of that name; the message says where it was looked for.
    """
    if name in EMBEDDED:
        return ModelSource(str(_embedded(name)), cached_only=True)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _locate_folder(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"model: there is no folder {name!r}; give `starter`, a folder or a hub id.")
    return ModelSource(name, cached_only=not _hub_has(name))


def _tokenizer_place(name: str) -> tuple[str, bool]:
    """Folder or hub id of a tokenizer, and whether only the local cache is asked.

    A folder may hold a tokenizer and no model; an adapter's may leave it to the base model.
    """
    for folder in (Path(name).expanduser(), Path(name).expanduser() / "model"):
        if name not in EMBEDDED and (folder / "tokenizer.json").is_file():
            return str(folder), True
    source = locate(name)
    return source.place, source.cached_only


def _locate_folder(folder: Path) -> ModelSource:
    for candidate in (folder, folder / "model"):
        if (candidate / "adapter_config.json").is_file():
            base = locate(_base_of(candidate))
            return ModelSource(base.place, base.cached_only, (*base.adapters, candidate))
        if (candidate / "config.json").is_file():
            return ModelSource(str(candidate), cached_only=True)
    raise UserError(f"model: the folder {str(folder)!r} holds neither config.json nor adapter_config.json.")


def _base_of(adapter: Path) -> str:
    """The base model that an adapter names.

    An embedded model's cache folder differs between machines, so it is known by the folder's name.
    """
    base = read_json(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not base:
        raise UserError(f"model: {str(adapter / 'adapter_config.json')!r} does not name its base model.")
    return str(base) if Path(base).is_dir() else embedded_in(base) or str(base)


def embedded_in(base: str) -> str | None:
    """Which embedded model has a cache folder of that name, on this machine or another."""
    return next((name for name in EMBEDDED if Path(base).name.startswith(f"{name}-")), None)


def _embedded(name: str) -> Path:
    from boresight.models.embedded import countdown_tiny, starter

    return {"starter": starter.starter_path, "countdown-tiny": countdown_tiny.path}[name]()


def _hub_has(name: str) -> bool:
    """True: the hub has `name`. False: the hub cannot be asked, but the local cache has it.

    transformers itself retries an unreachable hub for most of a minute per file; one request with a
    time limit answers the same question.
    """
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        if not constants.HF_HUB_OFFLINE:
            HfApi().model_info(name, timeout=HUB_TIMEOUT)
            return True
        reason = "HF_HUB_OFFLINE is set"
    except GatedRepoError as error:
        raise UserError(
            f"model: {name!r} asks for access on its hub page; request it there, then run `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(
            f"model: {name!r} is neither `starter` nor a folder nor a model on the Hugging Face hub "
            "(a private one needs `hf auth login`)."
        ) from error
    except OfflineModeIsEnabled:
        reason = "HF_HUB_OFFLINE is set"
    except Exception:  # the hub client's HTTP library, and so its errors, differ between versions
        reason = "the Hugging Face hub cannot be reached"
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return False
    raise UserError(
        f"model: {name!r} is neither `starter` nor a folder, {reason}, and its cache has no such model; "
        "use `starter`, a folder, or download it first."
    )


def _with_adapter(base: PreTrainedModel, adapter: Path, merge: bool) -> torch.nn.Module:
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by a name it is retiring
            adapted = PeftModel.from_pretrained(base, str(adapter))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _cannot_load(str(adapter), "adapter", error) from error
    _restore_stop_tokens(base, adapter)
    if not merge:
        return adapted
    merged = adapted.merge_and_unload().requires_grad_(True)  # PEFT froze it; what trains it may train all
    merged.name_or_path = str(adapter.resolve())  # what an adapter on top of it will call its base
    return cast("torch.nn.Module", merged)


def _restore_stop_tokens(model: PreTrainedModel, adapter: Path) -> None:
    """What stops generation is saved beside an adapter, whose base knows nothing of it."""
    from transformers import GenerationConfig

    if (adapter / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(adapter)
        model.config.eos_token_id = model.generation_config.eos_token_id
        model.config.pad_token_id = model.generation_config.pad_token_id


def _device(name: str | None) -> torch.device:
    import torch

    try:
        return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UserError(f"device: {name!r} is not a device; use cpu, cuda or cuda:N.") from error


def _cannot_load(name: str, what: str, error: Exception) -> UserError:
    """One sentence from the first line of what the library said."""
    return UserError(f"model: the {what} of {name!r} cannot be loaded: {first_line(error)}.")
