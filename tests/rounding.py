"""Rounding as on a GPU, on a CPU: products whose order of summation depends on their shape.

cuBLAS chooses a kernel by the shape of a product, and with it how the sum over the inner dimension is split.
Here the split is drawn from the shape: products of one shape round alike, others do not.
"""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

HALF = (torch.bfloat16, torch.float16)
aten = torch.ops.aten


class GpuRounding(TorchDispatchMode):
    """Inside the block half-precision products are the sum of 1 to 4 partial ones, or of `parts`, in float32.

    `coarse` rounds each partial sum to the operands' precision too: a tiny model then shows the noise that a
    model of thirty layers collects.
    """

    def __init__(self, coarse: bool = False, salt: int = 0, parts: int | None = None) -> None:
        super().__init__()
        self.coarse, self.salt, self.parts, self.products = coarse, salt, parts, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is aten.mm.default and args[0].dtype in HALF:
            return self._product(*args).to(args[0].dtype)
        if function is aten.addmm.default and args[1].dtype in HALF and not kwargs:
            return (self._product(*args[1:]) + args[0].float()).to(args[1].dtype)
        return function(*args, **kwargs or {})

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        self.products += 1
        (rows, inner), columns = a.shape, b.shape[1]
        parts = self.parts or 1 + zlib.crc32(f"{rows} {inner} {columns} {self.salt}".encode()) % 4
        total = torch.zeros(rows, columns)
        for place in torch.arange(inner).chunk(parts):
            k = slice(int(place[0]), int(place[-1]) + 1)
            part = a[:, k].float() @ b[k].float()
            total += part.to(a.dtype).float() if self.coarse else part
        return total
