"""The devices that a test of a GPU path runs on: here, so that it cannot rot, and on a GPU where one is."""

import pytest
import torch

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
on_each_device = pytest.mark.parametrize("device", DEVICES)
WIDE = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
"""Heads of 16: FlexAttention's kernel multiplies no narrower ones."""


class TwoGpus:
    """What torch.cuda reports on a machine with two GPUs: `of` has the numbers of each by its index.

    A call without a device reads the current one, GPU 0.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.of: dict[int, dict[str, object]] = {
            index: {"name": f"GPU {index}", "capability": (9, 0)} for index in range(2)
        }
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "device_count", lambda: 2)
        for call, key in (
            ("mem_get_info", "info"),
            ("memory_reserved", "reserved"),
            ("memory_allocated", "allocated"),
            ("max_memory_allocated", "peak"),
            ("get_rng_state", "random"),
            ("get_device_name", "name"),
            ("get_device_capability", "capability"),
        ):
            patch.setattr(torch.cuda, call, lambda device=None, key=key: self.of[index_of(device)][key])
        patch.setattr(torch.cuda, "set_rng_state", self._set_rng_state)

    def _set_rng_state(self, state: torch.Tensor, device: torch.device | None = None) -> None:
        self.of[index_of(device)]["random"] = state


def index_of(device: torch.device | int | None) -> int:
    """Index of a GPU; 0, the current one, for None."""
    return device.index or 0 if isinstance(device, torch.device) else device or 0


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> TwoGpus:
    """This machine with two GPUs, as far as torch.cuda reports them."""
    return TwoGpus(monkeypatch)
