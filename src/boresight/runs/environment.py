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
    """Facts for `environment.json`; `gpu` is the one that `device` (`model.device` of a recipe) names, None
    on another device.

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
    """A warning if a run on `device` (`model.device` of a recipe) uses code without measurements; else None.

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
    """The installed version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the source tree boresight runs from, when it is one.

    An environment inside of a repository of the user belongs to no commit of that repository.
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
