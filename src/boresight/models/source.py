"""Find the files of a model by name: `starter`, a local folder, or a Hugging Face hub id.

This module does not import torch, so a wrong name of a model or of a device is refused within a second.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight.config.yaml_text import read_yaml
from boresight.core.console import print_warning
from boresight.core.errors import UserError
from boresight.core.files import expanded
from boresight.models.checkpoint.damaged import read_object

if TYPE_CHECKING:
    from rich.console import Console

EMBEDDED = ("starter", "countdown-tiny")
"""Names of models that need no network; the name of each one's cache folder begins with it."""
DEVICE = re.compile(r"(cpu|cuda|mps)(:(0|[1-9]\d?))?")
HUB_TIMEOUT = 5.0
"""Seconds without a response after which the hub counts as unreachable."""


class Unreachable(UserError):
    """The hub cannot be reached, so it is unknown whether the model would load."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Location of a model's files.

    Attributes:
        place: a folder or a hub id.
        cached_only: whether only local files are used, as for a folder or when the hub cannot be reached.
        adapters: folders of the PEFT adapters on top of the model, in the order in which they are applied. A
            run that started from another run's adapter has two.
        allowed: patterns of weights that the runs of those adapters accepted as missing or unexpected.
    """

    place: str
    cached_only: bool = False
    adapters: tuple[Path, ...] = ()
    allowed: tuple[str, ...] = ()


def locate(name: str) -> ModelSource:
    """Find the files of the model called `name`, without loading them.

    A folder may be a model, a PEFT adapter, or a run folder with either in `model/`. For a hub id, one
    request with a short timeout is sent; if the hub cannot be reached, the local cache is used.

    Raises:
        UserError: there is no model of that name; the message lists where it was searched.
    """
    return _locate(name, above=())


def _locate(name: str, above: tuple[Path, ...]) -> ModelSource:
    """Return the source of `name`, which is the base of the adapters in the folders `above`."""
    if name in EMBEDDED:
        return ModelSource(str(_embedded(name)), cached_only=True)
    folder = expanded(name)
    if folder.is_dir():
        return _locate_folder(folder, above)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"model: there is no folder {name!r}; give `starter`, a folder or a hub id.")
    return ModelSource(name, cached_only=not _hub_has(name))


def refuse_missing_model(name: str) -> None:
    """Raise a `UserError` if `name` is a folder that contains no model, or if no model has that name."""
    if name not in EMBEDDED and (folder := expanded(name)).is_dir():
        _model_in(folder)  # `locate` might also request an adapter's base from the hub
    else:
        locate(name)


def refuse_unknown_device(name: str | None) -> None:
    """Raise a `UserError` if the name is not the name of a device. Whether this machine has it is not
    checked."""
    if name is not None and not DEVICE.fullmatch(name):
        raise UserError(f"device: {name!r} is not a device; use cpu, cuda, cuda:N or mps.")


def tokenizer_place(name: str) -> tuple[str, bool]:
    """Return the folder or hub id of a tokenizer, and whether only local files are used.

    A folder may contain a tokenizer without a model; the tokenizer of an adapter may be that of its base
    model.
    """
    for folder in (expanded(name), expanded(name) / "model"):
        if name not in EMBEDDED and (folder / "tokenizer.json").is_file():
            return str(folder), True
    source = locate(name)
    return source.place, source.cached_only


def weights_at_hand(name: str) -> bool:
    """Whether a model's weights are on this machine: for a hub model, whether they were downloaded before.

    Raises:
        UserError: there is no model of that name.
    """
    from huggingface_hub import try_to_load_from_cache

    source = locate(name)
    if Path(source.place).is_dir():
        return True
    files = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(source.place, file), str) for file in files)


def _locate_folder(folder: Path, above: tuple[Path, ...]) -> ModelSource:
    found = _model_in(folder)
    if not (found / "adapter_config.json").is_file():
        return ModelSource(str(found), cached_only=True)
    if found.resolve() in above:
        raise UserError(
            f"model: the adapter {str(found)!r} is its own base; set base_model_name_or_path in its "
            "adapter_config.json to the model that it was trained on."
        )
    base = _locate(_base_of(found), (*above, found.resolve()))
    allowed = (*base.allowed, *_allowed_by(recipe_of_run(found.parent)))
    return ModelSource(base.place, base.cached_only, (*base.adapters, found), allowed)


def _model_in(folder: Path) -> Path:
    """Return the folder itself, or `model/` in it, whichever contains an adapter or a model.

    Raises:
        UserError: neither contains one.
    """
    for candidate in (folder, folder / "model"):
        if any((candidate / name).is_file() for name in ("adapter_config.json", "config.json")):
            return candidate
    raise UserError(
        f"model: the folder {str(folder)!r} holds neither config.json nor adapter_config.json; "
        "give the folder of a finished run, of a model or of an adapter."
    )


def _base_of(adapter: Path) -> str:
    """Return the name of an adapter's base model.

    The cache folder of an embedded model differs between machines, so such a base is recognized by the name
    of the folder.

    Raises:
        UserError: the adapter does not name its base model.
    """
    base = read_object(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise UserError(f"model: {str(adapter / 'adapter_config.json')!r} does not name its base model.")
    return base if Path(base).is_dir() else embedded_in(base) or base


def note_on_base(name: str) -> str | None:
    """Return a sentence if an adapter of `name` was trained on a base in 4 bits (`model.lora.base: nf4`),
    else None.

    Such an adapter is loaded on the unquantized base, with which its run was never evaluated. Only local
    folders are read, also if the base is a model of the hub.
    """
    runs = [str(run) for run in _runs_of_adapters(name, ()) if base_in_4_bits(recipe_of_run(run))]
    if not runs:
        return None
    return (
        f"{', '.join(runs)}: the adapter was trained and evaluated on a base in 4 bits (NF4), and is loaded "
        "on the unquantized base; the effect of that was not measured."
    )


def print_note_on_base(model: str, console: Console) -> None:
    """Print a warning if an adapter was trained on a base in 4 bits and is now loaded on the unquantized
    base."""
    if note := note_on_base(model):
        print_warning(console, note)


def _runs_of_adapters(name: str, above: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the parent folders of a model's adapters, the last applied first; adapters in `above` are
    excluded."""
    for candidate in (expanded(name), expanded(name) / "model"):
        if (candidate / "adapter_config.json").is_file() and candidate.resolve() not in above:
            below = _runs_of_adapters(_base_of(candidate), (*above, candidate.resolve()))
            return (candidate.parent, *below)
    return ()


def base_in_4_bits(recipe: Mapping[str, Any]) -> bool:
    """Whether a resolved recipe stores the base of its adapters in 4 bits; False for anything else."""
    try:
        return bool(recipe["model"]["lora"]["base"] == "nf4")
    except (LookupError, TypeError):
        return False


def recipe_of_run(folder: Path) -> dict[str, Any]:
    """Return the recipe of a run folder; empty for other folders and for a recipe that cannot be read."""
    file = folder / "config.yaml"
    try:
        found = read_yaml(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else {}
    except (UserError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _allowed_by(recipe: dict[str, Any]) -> tuple[str, ...]:
    """Return `model.allow_weights` of a recipe; empty if it is not set."""
    try:
        return tuple(recipe["model"]["allow_weights"])
    except (LookupError, TypeError):
        return ()


CACHED = re.compile(r"(starter)-[0-9a-f]{8}|(countdown-tiny)-\d+-seed\d+")
"""Names of the cache folders of embedded models."""


def embedded_in(base: str) -> str | None:
    """Name of the embedded model whose cache folder, on this machine or another, is `base`; None for other
    folders and for hub ids, such as `me/starter-sft`, which may be anything."""
    found = CACHED.fullmatch(Path(base).name)
    return found and (found[1] or found[2])


def _embedded(name: str) -> Path:
    from boresight.models.embedded import countdown_tiny, starter

    return {"starter": starter.starter_path, "countdown-tiny": countdown_tiny.path}[name]()


def _hub_has(name: str) -> bool:
    """Return True if the hub has `name`, and False if the hub cannot be reached but the local cache has it.

    transformers itself retries an unreachable hub for most of a minute per file; this function sends one
    request with a timeout.

    Raises:
        Unreachable: the hub cannot be reached, and the local cache does not have the model.
        UserError: the hub has no such model, or the model is not accessible without a login.
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
    raise Unreachable(
        f"model: {name!r} is neither `starter` nor a folder, {reason}, and its cache has no such model; "
        "use `starter`, a folder, or download it first."
    )
