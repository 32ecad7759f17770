"""Communicate between the processes of one run: each does its share of the work, and all get all results.

    torchrun --nproc-per-node 2 -m boresight train RECIPE

Every process has the whole batch of a step, computes a share of it (`share`, `in_shares`), and sums its
gradients with those of the other processes (`replicas.py`). Numbers, samples and rewards are sent as JSON or
safetensors over the CPU backend, gradients over the accelerator's backend. Only the first process writes the
run folder.

With one process, every function here is the identity, and `torch.distributed` is not used.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from boresight.core.errors import UserError
from boresight.core.interrupt import Interrupted
from boresight.core.wording import plural
from boresight.data.rows import Row
from boresight.data.stored.view import picked
from boresight.models.load import device_called
from boresight.training.checkpoints import checkpoint

V = TypeVar("V")

PATIENCE = timedelta(hours=2)
"""Maximum time that a process waits for another one that is alive, which may be reading data or writing a
checkpoint. The death of a process is noticed at once, by its closed connection."""

_store: dist.Store | None = None


def world() -> int:
    """Return the number of processes of this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Return whether this process is the one that prints and writes files."""
    return rank() == 0


# ---------------------------------------------------------------------------------------------- joining


@contextmanager
def joined() -> Iterator[None]:
    """Context manager in which the processes started by torchrun form one group.

    Does nothing for one process. If all processes raise the same error, only the first to report it raises
    and the others exit silently, so that the message is printed once.
    """
    if dist.is_initialized() or not _is_distributed_launch():
        yield
        return
    _join()
    try:
        yield
        gc.collect()  # a sharded model has reference cycles, which would keep the group's threads alive
        dist.destroy_process_group()
    except BaseException as error:
        if _is_first_to_report():
            raise
        raise SystemExit(2 if isinstance(error, UserError) else 1) from None


def _is_distributed_launch() -> bool:
    """Return whether torchrun, or a similar launcher, started this process as one of several."""
    told = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    return told <= os.environ.keys() and int(os.environ["WORLD_SIZE"]) > 1


def _join() -> None:
    global _store
    _store, number, count = next(dist.rendezvous("env://"))
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        if (number_here := int(os.environ.get("LOCAL_RANK", "0"))) < torch.cuda.device_count():
            torch.cuda.set_device(number_here)  # more processes than GPUs train on the CPU
    dist.init_process_group(backend, store=_store, rank=number, world_size=count, timeout=PATIENCE)


def refuse_shared_gpu(device: str | None) -> None:
    """Raise a `UserError` if several processes of this run would train on the same GPU.

    `device` is `model.device` of a recipe.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world() > 1 else 1
    found = device_called(device)
    if here == 1 or found.type != "cuda":
        return
    if found.index is not None:
        raise UserError(
            f"model.device: {device!r} would be the GPU of all {here} processes; leave it out, so that each "
            "takes its own."
        )
    if here > (there := torch.cuda.device_count()):
        raise UserError(
            f"torchrun: {here} processes on this machine need a GPU each, and it has {plural(there, 'GPU')}; "
            f"set --nproc-per-node {there}, or model.device=cpu."
        )


def _is_first_to_report() -> bool:
    """Return True in the first process that reports an error.

    The decision is made through torchrun's store, which outlives the processes.
    """
    assert _store is not None
    try:
        return bool(_store.add("boresight/spoken", 1) == 1)
    except RuntimeError:  # its machine is gone: printing twice is better than not at all
        return True


@contextmanager
def noticing_losses(run: Path) -> Iterator[None]:
    """Context manager in which the death of another process raises `Interrupted`, as after a signal."""
    try:
        yield
    except RuntimeError as error:
        if world() == 1 or not _is_loss(error):
            raise
        last = checkpoint.latest_sound(run)
        good = (
            f"{last} is complete: resume with --resume" if last else "there is no checkpoint to resume from"
        )
        raise Interrupted(f"another process of this run has died; {good}.") from error


def _is_loss(error: RuntimeError) -> bool:
    """Return whether an error means that another process has died.

    gloo raises a plain RuntimeError, so the message is searched.
    """
    return isinstance(error, dist.DistError) or any(
        word in str(error) for word in ("gloo", "Connection closed", "Connection reset", "NCCL")
    )


# --------------------------------------------------------------------------------------- communicating


def from_first(value: V) -> V:
    """Return the value of the first process, which must be JSON; the values of the others are ignored."""
    return cast("V", gather(value if is_first() else None)[0])


def path_from_first(make: Callable[[], Path | None]) -> Path | None:
    """Call `make` in the first process only, and return its result in all processes."""
    found = from_first(str(make() or "") if is_first() else "")
    return Path(found) if found else None


def any_process(flag: bool) -> bool:
    """Return whether any process passes True."""
    if world() == 1:
        return flag
    said = torch.tensor(int(flag))
    dist.all_reduce(said, dist.ReduceOp.MAX)
    return bool(said)


def wait() -> None:
    """Wait until every process has reached this point."""
    any_process(False)


@contextmanager
def local_main_process_first() -> Iterator[None]:
    """Run the block in the first process of every machine, then in the others.

    That way each file is downloaded once per machine.
    """
    early = os.environ.get("LOCAL_RANK", "0") == "0"
    if not early:
        wait()
    yield
    if early:
        wait()


def gather(value: V) -> list[V]:
    """Return the values of all processes, which must be JSON, by rank."""
    if world() == 1:
        return [value]
    return [json.loads(part) for part in _gather_bytes(json.dumps(value).encode())]


def gather_tensors(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the tensors of all processes, on the CPU, by rank."""
    if world() == 1:
        return [tensors]
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return [load_tensors(part) for part in _gather_bytes(save_tensors(own))]


def _gather_bytes(own: bytes) -> list[bytes]:
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world())]
    dist.all_gather(sizes, torch.tensor([len(own)]))
    mine = torch.zeros(int(max(sizes)), dtype=torch.uint8)
    mine[: len(own)] = torch.frombuffer(bytearray(own), dtype=torch.uint8)
    parts = [torch.empty_like(mine) for _ in sizes]
    dist.all_gather(parts, mine)
    return [part[: int(size)].numpy().tobytes() for part, size in zip(parts, sizes, strict=True)]


# --------------------------------------------------------------------------------------------- sharing


def share(rows: Sequence[Row], number: int | None = None) -> Sequence[Row]:
    """Return the rows of process `number`, by default of this process.

    Rows are assigned longest first, in an order that alternates between rounds, to balance the number of
    tokens.
    """
    count, number = world(), rank() if number is None else number
    if count == 1:
        return rows
    lengths = np.fromiter((row.tokens for row in rows), np.int64, len(rows))
    longest_first = np.argsort(-lengths, kind="stable")
    rounds = [longest_first[start : start + count] for start in range(0, len(rows), count)]
    places = [number if turn % 2 == 0 else count - 1 - number for turn in range(len(rounds))]
    own = [dealt[place] for dealt, place in zip(rounds, places, strict=True) if place < len(dealt)]
    return picked(rows, own)


def in_shares(count: int, work: Callable[[Sequence[int]], Sequence[V]]) -> list[V]:
    """Call `work` in each process on its share of the indices below `count`; return all results in order.

    `work` is called in every process, possibly with no index. Its results must be JSON.
    """
    if world() == 1:
        return list(work(range(count)))
    results: list[Any] = [None] * count
    for number, part in enumerate(gather(list(work(range(rank(), count, world()))))):
        results[number :: world()] = part
    return results


class Silent:
    """Log that ignores everything; it replaces the tracker in all processes but the first."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[int, str, dict[str, float]], None]] = []
        self.stopping = False

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        """Does nothing: no file is open."""

    def log(self, step: int, split: str, numbers: dict[str, float]) -> None:
        """Does nothing: the first process logs the same numbers."""

    def say(self, sentence: str, style: str | None = None) -> None:
        """Does nothing: the first process prints the sentence."""
