"""Write and read checkpoints: weights and training state in standard formats, written atomically.

    step-40/model/                full weights or adapter, and tokenizer, for transformers and PEFT
    step-40/state.safetensors     optimizer moments and random states
    step-40/replay.safetensors    pairs of earlier steps, if the method replays them
    step-40/state.json            progress, sizes and hashes of the logs, hashes of all other files

Nothing is pickled. A folder gets its final name only after all of its files are on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from boresight.core.errors import UserError
from boresight.core.files import atomic_folder, read_state, remove_folder, write_state
from boresight.data.tokenizer import Tokenizer
from boresight.models import lora
from boresight.models.checkpoint.leftovers import Allowed, refuse
from boresight.models.checkpoint.pretrained import BuildOptions, read_weights
from boresight.models.head import head_of
from boresight.models.kernels.split_weights import master_weights
from boresight.models.lora import has_adapters
from boresight.models.policy import Policy, causal_model
from boresight.models.source import ModelSource
from boresight.training.checkpoints import random_state

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REPLAY = "replay.safetensors"
STOPPED_BY_GUARD = "stopped_by_guard"
"""Key of a checkpoint's progress, with the value True if the guard stopped the run there."""


def save_model(
    policy: Policy, tokenizer: Tokenizer, folder: Path, weights: dict[str, torch.Tensor] | None = None
) -> None:
    """Write `policy` (only its adapter if it has one) and `tokenizer` in a form that other tools can load.

    Args:
        weights: weights by name that are written in place of the policy's own, if the policy is sharded.
    """
    with master_weights(causal_model(policy)):
        lora.save(policy, folder, tokenizer, weights, parents=False)


def save_state(
    folder: Path,
    policy: Policy,
    tokenizer: Tokenizer,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
    replay: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write everything needed to continue after `progress["step"]` steps.

    Raises:
        OSError: the disk is full, or the run folder was deleted.
    """
    folder.parent.mkdir(exist_ok=True)
    with atomic_folder(folder, durable=True, parents=False) as part:  # older ones are deleted then
        save_model(policy, tokenizer, part / "model")
        state = _optimizer_tensors(optimizer) | random_state.states(policy.device)
        save_file(state, part / "state.safetensors")
        if replay is not None:
            save_replay(part, replay)
        write_state(part / "state.json", progress | {"sha256": _hashes(part)})


def load_state(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore weights, optimizer state and random states, and return the saved progress."""
    load_weights(policy, folder / "model")
    tensors = load_file(folder / "state.safetensors")
    states: dict[str, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        states.setdefault(number, {})[name] = tensor
    for index, parameter in enumerate(_parameters(optimizer)):
        # An expert that no token was sent to has not been updated yet.
        for name, tensor in states.get(str(index), {}).items():
            # The step count too: fused AdamW on a GPU reads it there. A count of another optimizer is an int.
            count = tensor.ndim == 0 and tensor.dtype == torch.int64
            optimizer.state[parameter][name] = int(tensor) if count else tensor.to(parameter.device)
    random_state.restore(tensors, policy.device)
    return read_state(folder / "state.json")


def save_replay(folder: Path, replay: dict[str, torch.Tensor]) -> None:
    """Write the pairs of earlier steps to a checkpoint."""
    save_file(replay, folder / REPLAY)


def load_replay(folder: Path) -> dict[str, torch.Tensor]:
    """Return the pairs of earlier steps.

    Raises:
        UserError: the checkpoint has none.
    """
    if not (folder / REPLAY).is_file():
        raise UserError(f"{folder}: it keeps no earlier pairs; set method.replay=0, or begin a new run.")
    return load_file(folder / REPLAY)


def latest_sound(run: Path) -> Path | None:
    """Return the newest checkpoint whose files all have their saved hashes; None if there is none."""
    return next((folder for folder in newest_first(run) if _is_sound(folder)), None)


def damaged_in_words(run: Path, sound: Path) -> str:
    """Return text such as `checkpoints/step-40 is damaged`, for every checkpoint newer than `sound`."""
    newer = [folder for folder in newest_first(run) if step_of(folder) > step_of(sound)]
    return ", ".join(f"checkpoints/{folder.name} is damaged" for folder in newer)


def newest_first(run: Path) -> list[Path]:
    """Return the folders of all complete checkpoints, newest first."""
    found = [p for p in (run / "checkpoints").glob("step-*") if p.name[5:].isdigit()]
    return sorted(found, key=step_of, reverse=True)


def step_of(folder: Path) -> int:
    """Return the number of steps after which a checkpoint was written."""
    return int(folder.name.removeprefix("step-"))


def drop_older(run: Path, keep: int, best: int | None = None) -> None:
    """Delete all checkpoints except the `keep` newest ones and that of step `best`."""
    for folder in newest_first(run)[keep:]:
        if step_of(folder) != best:
            remove_folder(folder)


def drop_unwanted(run: Path, *, keep_stop: bool) -> None:
    """Delete the checkpoints of a finished run, except the best by `train.keep_best`.

    With `keep_stop`, the checkpoint at which the guard stopped the run is kept too, so that the run can
    resume.
    """
    for newest in newest_first(run)[:1]:
        state = read_state(newest / "state.json")
        drop_older(run, 1 if keep_stop and state.get(STOPPED_BY_GUARD) else 0, state.get("best_step"))


def stopped_by_guard(run: Path) -> bool:
    """Return whether the guard stopped the run at its newest checkpoint; False if that is damaged."""
    with contextlib.suppress(UserError):
        return any(read_state(new / "state.json").get(STOPPED_BY_GUARD) for new in newest_first(run)[:1])
    return False


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): sha256_of(file) for file in files}


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_sound(folder: Path) -> bool:
    """Return whether all files with a recorded hash still have it, and the folder has its own name.

    Checkpoints of earlier versions have hashes of the files of tensors only.
    """
    try:
        state = read_state(folder / "state.json")
        hashes: dict[str, str] = state["sha256"]
        whole = bool(hashes) and all(sha256_of(folder / name) == known for name, known in hashes.items())
    except (UserError, OSError, KeyError, AttributeError, TypeError):
        return False
    return whole and state.get("step") in (None, step_of(folder))


def load_weights(policy: Policy, folder: Path) -> None:
    """Load weights that `save_model` wrote into `policy`; if it has adapters, only those."""
    if has_adapters(policy):
        from peft import load_peft_weights, set_peft_model_state_dict

        set_peft_model_state_dict(policy, load_peft_weights(str(folder), device="cpu"))
        return
    model = causal_model(policy)
    with master_weights(model, write=True):
        _load_whole(model, folder)


def _load_whole(model: PreTrainedModel, folder: Path) -> None:
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    found = model.load_state_dict(tensors, strict=False)
    if found.unexpected_keys or _not_loaded(model, found.missing_keys, tensors):
        _load_converted(model, folder)
    model.tie_weights()


def _not_loaded(
    model: torch.nn.Module, missing: Sequence[str], loaded: Mapping[str, torch.Tensor]
) -> list[str]:
    """Return the names of missing weights that are not another name of a loaded weight."""
    named = dict(model.named_parameters(remove_duplicate=False))
    there = {id(named[name]) for name in loaded if name in named}
    return [name for name in missing if name not in named or id(named[name]) not in there]


def _load_converted(model: torch.nn.Module, folder: Path) -> None:
    """Load weights that transformers saves under names other than those in memory, such as single experts.

    Raises:
        UserError: weights are still missing or left over.
    """
    options = BuildOptions(next(model.parameters()).dtype)
    source = ModelSource(str(folder), cached_only=True)
    saved, leftovers = read_weights(source, str(folder), head_of(folder), options)
    refuse(leftovers, str(folder), type(model).__name__, Allowed())
    model.load_state_dict(saved.state_dict(), strict=True)


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{index}.{name}": _on_cpu(name, value)
        for index, parameter in enumerate(_parameters(optimizer))
        for name, value in optimizer.state[parameter].items()
    }


def _on_cpu(name: str, value: torch.Tensor | int) -> torch.Tensor:
    """Return an entry of an optimizer's state as a tensor on the CPU.

    Tables of 8-bit moments are copied, since all weights share them.
    """
    tensor = torch.as_tensor(value).detach().cpu().contiguous()
    return tensor.clone() if name.startswith("qmap") else tensor
