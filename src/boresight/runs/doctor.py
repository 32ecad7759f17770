"""`boresight doctor`: print what is installed, what the machine has, and which models it can train."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from boresight.checks.run.machine import LIBRARIES_GB
from boresight.config.lora import LoraConfig
from boresight.config.recipe import TrainSection
from boresight.core.console import name_table
from boresight.core.files import cache_folder
from boresight.core.wording import plural
from boresight.models.load import device_called
from boresight.models.precision import resolve_dtype
from boresight.runs.environment import environment, package_version
from boresight.training.footprint.estimate import Footprint
from boresight.training.footprint.forward_tokens import forward_tokens
from boresight.training.footprint.layer import Shape
from boresight.training.memory import available_gb

EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
NOT_FOR_USERS = ("bench", "docs", "dev")
"""Extras of the package that only developers of boresight need."""


@dataclass(frozen=True, slots=True)
class Size:
    """The shape of a model.

    `parameters` is the number of parameters; `kv` is the width of a token's keys, and of its values, in a
    layer.
    """

    name: str
    parameters: int
    layers: int
    hidden: int
    intermediate: int
    kv: int

    @property
    def adapters(self) -> int:
        """Number of parameters of the default LoRA adapters.

        For each adapted layer, this is the rank times the sum of its input and output width.
        """
        both = {"q_proj": self.hidden, "o_proj": self.hidden, "k_proj": self.kv, "v_proj": self.kv}
        lora = LoraConfig()
        return self.layers * lora.r * sum(self.hidden + both[name] for name in lora.targets)

    def needed_gb(self, lora: bool) -> float:
        """Estimate the peak memory of DPO with default settings and activation checkpointing, in GB.

        Full fine-tuning takes no second model, because the reference scores the data before training.

        Args:
            lora: whether LoRA adapters are trained instead of all weights.
        """
        device = device_called(None)
        cuda = device.type == "cuda"
        dtype = resolve_dtype("auto", device)
        footprint = Footprint(
            shape=Shape(self.layers, self.hidden, self.intermediate, self.kv),
            parameters=self.parameters,
            trained=self.adapters if lora else self.parameters,
            dtype=dtype,
            lora=LoraConfig() if lora else None,
            base="bfloat16" if lora and dtype == "bfloat16" else "float32",
            cuda=cuda,
        )
        tokens = forward_tokens(TrainSection(), device)
        return (0.0 if cuda else LIBRARIES_GB) + footprint.peak_gb(tokens, recompute=True)


SIZES = (
    Size("SmolLM2-135M (starter)", 134_515_008, 30, 576, 1536, 192),
    Size("Qwen2.5-0.5B", 494_032_768, 24, 896, 4864, 128),
    Size("Llama-3.2-1B", 1_235_814_400, 16, 2048, 8192, 512),
    Size("Qwen2.5-3B", 3_085_938_688, 36, 2048, 11008, 256),
    Size("Llama-3.1-8B", 8_030_261_248, 32, 4096, 14336, 1024),
)
"""Models of the sizes that boresight is made for; the shapes are from their published configs."""


@dataclass(frozen=True)
class Fit:
    """Whether DPO of a model fits into memory, with LoRA and with all weights.

    `lora_gb` and `all_weights_gb` are estimates in GB; `lora` and `all_weights` are `yes`, `perhaps` or `no`.
    """

    model: str
    lora_gb: float
    lora: str
    all_weights_gb: float
    all_weights: str


@dataclass(frozen=True)
class Diagnosis:
    """Installed packages, facts about the machine, and the models that fit; memory in GB."""

    boresight: str
    commit: str | None
    python: str
    packages: dict[str, str]
    extras: dict[str, str]
    machine: dict[str, str]
    free_gb: float
    models: list[Fit]


def diagnosis() -> Diagnosis:
    """Examine packages and machine, and return the results; matrix products are timed once per machine."""
    facts, free = environment(), available_gb(device_called(None))
    versions = {name: version for name, version in facts["packages"].items() if version}
    needed = ((size.name, size.needed_gb(lora=True), size.needed_gb(lora=False)) for size in SIZES)
    return Diagnosis(
        boresight=versions.pop("boresight"),
        commit=facts["commit"] or None,
        python=facts["python"],
        packages=versions,
        extras=dict(_extras()),
        machine=dict(_machine(facts)),
        free_gb=free,
        models=[Fit(name, a, room_for(a, free), b, room_for(b, free)) for name, a, b in needed],
    )


def print_diagnosis(found: Diagnosis, console: Console) -> None:
    """Print packages, machine and the models that fit, in at most 80 columns."""
    commit = f", commit {found.commit}" if found.commit else ""
    console.print(f"boresight {found.boresight}{commit}, Python {found.python}", highlight=False)
    for title, lines in (("Packages", found.packages), ("Extras", found.extras), ("Machine", found.machine)):
        console.print()
        console.print(name_table(lines.items(), title=title, style="cyan"))
    console.print()
    console.print(
        f"What fits into {found.free_gb:.1f} GB? DPO, default settings, estimated to a factor of two",
        style="italic",
        highlight=False,
    )
    console.print(_fits(found.models))


def _extras() -> Iterator[tuple[str, str]]:
    """Yield each extra with the versions of its packages, or with the command that installs it."""
    for name, packages in sorted(extras_of("boresight").items()):
        missing = [package for package in packages if package_version(package) is None]
        if missing:
            yield name, f"not installed: pip install 'boresight[{name}]'"
        else:
            yield name, ", ".join(f"{package} {package_version(package)}" for package in packages)


def extras_of(distribution: str) -> dict[str, list[str]]:
    """Return the packages of each extra for users, read from the metadata of the installed distribution."""
    found: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires(distribution) or []:
        extra = EXTRA.search(requirement)
        if extra and extra[1] not in NOT_FOR_USERS:
            found.setdefault(extra[1], []).append(re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0])
    return found


def _machine(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    threads = plural(facts["threads"], "thread")
    yield "processor", f"{facts['processor']}, {plural(facts['cores'], 'core')}, {threads} in use"
    yield from _products()
    yield "system", str(facts["machine"])
    yield from device_lines()
    yield "memory", f"{available_gb(device_called(None)):.1f} GB free for training"
    for name, folder in (("this folder", Path.cwd()), ("cache", cache_folder())):
        there = next(place for place in (folder, *folder.parents) if place.exists())
        yield name, f"{shutil.disk_usage(there).free / 1e9:,.0f} GB free in {folder}"


def _products() -> Iterator[tuple[str, str]]:
    """Yield the throughput of matrix products on the processor, with the library that training uses."""
    import torch

    from boresight.models.kernels.libraries import measured_libraries, measurement

    if not torch.backends.mkldnn.is_available():
        return
    measured, chosen = measurement(), measured_libraries()
    for name, rates, library in (
        ("products", measured.products, chosen.products),
        ("weight gradients", measured.weight_gradients, chosen.weight_gradients),
    ):
        found = {"oneDNN": rates.onednn, torch_blas(): rates.blas}
        used = "oneDNN" if library == "onednn" else torch_blas()
        (other,) = found.keys() - {used}
        yield name, f"{used}, {found[used]:.0f} GFLOP/s ({other} {found[other]:.0f})"
    if (gain := measured.bfloat16_gain) is not None:
        yield (
            "bfloat16",
            f"products {gain:.1f} times as fast as in float32, and rounded: model.dtype=bfloat16",
        )


def torch_blas() -> str:
    """Name of the BLAS that torch was built with."""
    import torch

    return "MKL" if torch.backends.mkl.is_available() else "BLAS"


def device_lines() -> Iterator[tuple[str, str]]:
    """Yield `(label, text)` for each GPU that torch finds, or one line if there is none."""
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        why = "none seen by torch" if built else "none: this torch was built without CUDA"
        yield "GPU", f"{why}; training runs on the CPU"
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        bf16 = "bfloat16" if torch.cuda.get_device_capability(index) >= (8, 0) else "no bfloat16"
        name = torch.cuda.get_device_name(index)
        yield f"cuda:{index}", f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, {bf16}"


def _fits(models: Sequence[Fit]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("model", "LoRA", "", "all weights", ""):
        table.add_column(heading, justify="left" if heading in ("model", "") else "right")
    for fit in models:
        lora, whole = f"{fit.lora_gb:.1f} GB", f"{fit.all_weights_gb:.1f} GB"
        table.add_row(fit.model, lora, fit.lora, whole, fit.all_weights)
    return table


def room_for(needed: float, free: float) -> str:
    """Return whether `needed` GB fit into `free` GB: `yes`, `perhaps` or `no`.

    The estimate `needed` may be wrong by a factor of two in either direction.
    """
    if 2 * needed <= free:
        return "yes"
    return "perhaps" if needed / 2 <= free else "no"
