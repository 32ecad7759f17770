"""What a CUDA graph does, on any device: record the operations of a step with their tensors, and run them."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS_A_NUMBER = (
    *("_local_scalar_dense", "item", "is_nonzero", "equal"),
    *("nonzero", "masked_select", "_unique2"),
)
"""Operations whose result decides what the host launches next; a capture fails at each of them."""


class Recording(TorchDispatchMode):
    """Operations run and recorded inside the block; `replay` runs them on the same tensors.

    As in a graph, everything is found at the address that it had: results are written into the tensors that
    the recorded operations returned, and numbers of the host stay what they were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in READS_A_NUMBER, f"{name} reads a number of the device"
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, out))
        return out

    def replay(self) -> None:
        for func, args, kwargs, out in self.calls:
            before = {t.untyped_storage().data_ptr() for t in tensors((args, kwargs))}
            fresh = [t for t in tensors(out) if t.untyped_storage().data_ptr() not in before]
            if not fresh and not func._schema.is_mutable:
                continue  # a view of what it was given, which is where it was
            again = tensors(func(*args, **kwargs))
            for old, new in zip(tensors(out), again, strict=True):
                if any(old is t for t in fresh):
                    old.copy_(new)


def tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def record(step):
    """As a capture, but that recording a step runs it: the first replay is the recorded run itself."""
    recording, replays = Recording(), iter([lambda: None])
    with recording:
        step()
    return lambda: next(replays, recording.replay)()
