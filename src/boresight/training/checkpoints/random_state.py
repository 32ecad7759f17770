"""Save and restore the states of all random generators that a run may use: torch's, Python's and numpy's.

This package itself uses Python's and numpy's only with seeds of its own, but the rewards and losses of users
may use the global generators.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of all generators as tensors, including that of `device` if it is a GPU."""
    version, words, spare = random.getstate()
    legacy = np.random.get_state(legacy=False)
    own = legacy["state"]
    found = {
        "random.cpu": torch.get_rng_state(),
        "random.python": torch.tensor([version, *words]),
        "random.python_spare": _spare(spare is not None, spare or 0.0),
        "random.numpy": torch.tensor([*own["key"].tolist(), own["pos"]]),
        "random.numpy_spare": _spare(legacy["has_gauss"], legacy["gauss"]),
    }
    if device.type == "cuda":
        found["random.cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the states that `states` returned, including the generator of `device` if that is a GPU."""
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], device)
    version, *words = tensors["random.python"].tolist()
    has, spare = tensors["random.python_spare"].tolist()
    random.setstate((version, tuple(words), spare if has else None))
    *key, position = tensors["random.numpy"].tolist()
    has, spare = tensors["random.numpy_spare"].tolist()
    np.random.set_state(("MT19937", np.array(key, np.uint32), position, int(has), spare))


def _spare(has: bool | int, value: float) -> Tensor:
    """Return the stored second normal number as a tensor; both libraries draw two at a time and keep one."""
    return torch.tensor([float(has), value], dtype=torch.float64)
