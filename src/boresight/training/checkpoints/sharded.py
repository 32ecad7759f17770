"""Write and read checkpoints of a sharded model, with any number of processes.

    step-40/weights/*.safetensors       trained weights, in parts
    step-40/optimizer/*.safetensors     Adam's moments, in parts
    step-40/state.json                  progress, Adam's step counts, hashes

Every process writes its part, with `torch.distributed.checkpoint` in its safetensors format. Checkpoints with
unsharded weights can be read as well, so a run may resume with sharding although it began without it, and
vice versa. The folder must be on storage that all processes share.
"""

from __future__ import annotations

import inspect
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import safe_open
from torch import Tensor, nn

from boresight.core.files import flush_to_disk, read_state, replace_folder, write_point, write_state
from boresight.models.policy import Policy
from boresight.training.checkpoints.checkpoint import REPLAY, save_replay, sha256_of
from boresight.training.distributed import collectives

WEIGHTS, OPTIMIZER = "weights", "optimizer"
MOMENTS = ("exp_avg", "exp_avg_sq")


def is_sharded_checkpoint(folder: Path) -> bool:
    """Return whether `save_shards` wrote the checkpoint."""
    return (folder / WEIGHTS).is_dir()


def can_write_parts() -> bool:
    """Return whether this torch can write safetensors in parts, one per process; 2.9 and later can."""
    return "save_distributed" in inspect.signature(dcp.HuggingFaceStorageWriter).parameters


def save_shards(
    folder: Path,
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
    replay: dict[str, Tensor] | None = None,
) -> None:
    """Write everything needed to continue after `progress["step"]` steps; all processes must call it."""
    part = folder.with_name(f".{folder.name}.part")
    if collectives.is_first():
        write_point("start", folder)
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(exist_ok=True)
        part.mkdir()
        if replay is not None:
            save_replay(part, replay)
            flush_to_disk(part / REPLAY)
    collectives.wait()
    _write(part / WEIGHTS, _weights(policy))
    _write(part / OPTIMIZER, _moments(optimizer))
    own = sorted(part.rglob("*.safetensors"))[collectives.rank() :: collectives.world()]
    hashes = {str(f.relative_to(part)): sha256_of(f) for f in own}
    everyones = {name: digest for some in collectives.gather(hashes) for name, digest in some.items()}
    if collectives.is_first():
        state = progress | {"adam_steps": _step_counts(optimizer), "sha256": everyones}
        write_state(part / "state.json", state)
        flush_to_disk(part / "state.json")  # the writer of the shards has flushed its own files
        write_point("temporary", folder)
        replace_folder(part, folder)
        write_point("done", folder)
    collectives.wait()


def load_shards(folder: Path, policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore weights and optimizer state, and return the saved progress.

    Any sharding and number of processes is possible. The random state is not saved: with several processes
    dropout is seeded by the step.
    """
    progress = read_state(folder / "state.json")
    in_parts = is_sharded_checkpoint(folder)
    moments = {
        f"{index}.{name}": torch.zeros_like(parameter)
        for index, parameter in _numbered(optimizer)
        for name in MOMENTS
        if not in_parts or str(index) in progress["adam_steps"]
    }
    _read(folder / (WEIGHTS if in_parts else "model"), _weights(policy))
    _read(folder / OPTIMIZER if in_parts else folder, moments)
    steps = progress["adam_steps"] if in_parts else _whole_step_counts(folder)
    for index, parameter in _numbered(optimizer):
        if str(index) in steps:
            state = {name: moments[f"{index}.{name}"] for name in MOMENTS}
            step = torch.tensor(float(steps[str(index)]), device=parameter.device)
            optimizer.state[parameter] = state | {"step": step}
    return progress


def _write(folder: Path, tensors: dict[str, Tensor]) -> None:
    with _quiet():
        dcp.save(tensors, storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True))


def _read(folder: Path, into: dict[str, Tensor]) -> None:
    """Read a checkpoint into tensors, which may be whole or sharded, in place."""
    with _quiet():
        dcp.load(
            into,
            storage_reader=dcp.HuggingFaceStorageReader(str(folder)),
            no_dist=not dist.is_initialized(),
        )


def _weights(policy: Policy) -> dict[str, Tensor]:
    """Return the trained weights by the names under which PEFT and transformers save them."""
    trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    return {name.replace(".default.", "."): p.detach() for name, p in trained.items()}


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": optimizer.state[parameter][name]
        for index, parameter in _numbered(optimizer)
        for name in MOMENTS
        if parameter in optimizer.state
    }


def _step_counts(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the number of updates of each parameter, by its number."""
    return {
        str(i): float(optimizer.state[p]["step"]) for i, p in _numbered(optimizer) if p in optimizer.state
    }


def _whole_step_counts(folder: Path) -> dict[str, float]:
    with safe_open(folder / "state.safetensors", framework="pt") as file:
        names = [name for name in file.keys() if name.endswith(".step")]  # noqa: SIM118
        return {name.removesuffix(".step"): float(file.get_tensor(name)) for name in names}


def _numbered(optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, nn.Parameter]]:
    return enumerate(p for group in optimizer.param_groups for p in group["params"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Context manager that suppresses torch's messages about its formats and about loading in one process."""
    log = logging.getLogger("torch.distributed.checkpoint")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        log.setLevel(before)
