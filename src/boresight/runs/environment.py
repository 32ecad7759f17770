"""Versions, machine and commit of a run. Contains no secrets and no user names."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from boresight.models.kernels.libraries import processor_facts
from boresight.models.load import device_called
from boresight.training.distributed import collectives

PACKAGES = ("boresight", "torch", "transformers", "peft", "datasets", "numpy", "safetensors")
CUDA_IS_MEASURED = False
"""Whether `benchmarks/RESULTS.md` has a section `On a GPU`; a test compares the two."""


def environment(device: str | None = None) -> dict[str, Any]:
    """Return the content of `environment.json`.

    Args:
        device: `model.device` of a recipe. `gpu` is the name of this device, or None if it is not a GPU.

    Raises:
        UserError: there is no such device.
    """
    used = device_called(device)
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": processor_facts().get("model name") or platform.processor(),
        "cores": os.cpu_count(),
        "processes": collectives.world(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(used) if used.type == "cuda" else None,
        "commit": _commit(),
    }


def unmeasured_path(device: str | None) -> str | None:
    """Return a warning if a run on `device` uses code that has not been measured, else None.

    Args:
        device: `model.device` of a recipe.

    Raises:
        UserError: there is no such device.
    """
    if CUDA_IS_MEASURED or device_called(device).type != "cuda":
        return None
    return (
        "CUDA: this path has not been measured on a GPU yet (docs/scaling.md lists what was tested without "
        "one); check the first steps, or run with model.device=cpu."
    )


def package_version(package: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the source tree that boresight runs from; None if it does not run from one.

    A repository of the user that contains the Python environment does not count.
    """
    tree = Path(__file__).resolve().parents[3]
    if not (tree / ".git").exists():
        return None
    try:
        out = subprocess.run(
            ["git", "-C", str(tree), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip() or None
