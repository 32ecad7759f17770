"""Other forwards for some modules, for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

ModuleForward = Callable[..., Tensor]


@contextmanager
def forwards_replaced(forwards: Mapping[nn.Module, ModuleForward]) -> Iterator[None]:
    """Inside the block modules compute by `forwards`; afterwards as before it."""
    before: dict[nn.Module, Any] = {module: vars(module).get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.forward = forward
        yield
    finally:
        for module, forward in before.items():
            if forward is None:
                vars(module).pop("forward", None)
            else:
                module.forward = forward
