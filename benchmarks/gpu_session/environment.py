"""What the machine has, what the package lacks there, and the ceilings of the device.

    python -m gpu_session.environment [--kit FOLDER] [--json FILE]

Copies count the bytes read and written. Products are square, on random numbers; the largest rate of a data
sheet is not reached by any. A launch is the time of one small kernel in a row of many, which bounds decoding.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from packaging.requirements import Requirement
from throughput import peak_bandwidth, peak_flops

from boresight.runs.environment import environment
from gpu_session import options

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
PRODUCTS = (
    ("bfloat16", torch.bfloat16, "highest"),
    ("tf32", torch.float32, "high"),
    ("float32", torch.float32, "highest"),
)
LAUNCHES = 1000


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--kit", type=Path, default=Path("build/gpu-kit"))
    args = parser.parse_args()
    numbers = {**environment(), "nvidia-smi": driver(), "kit made at": commit(args.kit)}
    for name, value in numbers.items():
        print(f"{name}: {value}")
    needed = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    numbers["unmet"] = list(unmet(needed))
    numbers["ceilings"] = ceilings(args.device, args.tiny)
    options.write(args.json, numbers)
    if numbers["unmet"]:
        sys.exit(f"boresight needs what is not here: {', '.join(numbers['unmet'])}")


def commit(kit: Path) -> str | None:
    """What `make gpu-kit` was run at; a tree that is copied to the machine has no history of its own."""
    path = kit / "commit"
    return path.read_text().strip() if path.is_file() else None


def driver() -> str | None:
    """Name, driver and memory of the device as its driver has them; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip() or None


def unmet(requirements: Iterable[str]) -> Iterable[str]:
    """Those of the requirements that are not installed, or in another version, each with what there is."""
    for text in requirements:
        requirement = Requirement(text)
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield f"{text} (missing)"
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield f"{text} (has {version})"


def ceilings(device: str, tiny: bool) -> dict[str, float]:
    """Bandwidth of a copy, rates of products and the time of a launch, measured, with peaks where known."""
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    found = {"copy_tb_per_s": copy_rate(1 << (20 if tiny else 29), device) / 1e12}
    size = 256 if tiny else 8192
    for kind, dtype, precision in PRODUCTS:
        torch.set_float32_matmul_precision(precision)
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        found[f"{kind}_tflops"] = 2 * size**3 / seconds(lambda a=a, b=b: torch.mm(a, b), device) / 1e12
    torch.set_float32_matmul_precision("highest")
    small = torch.zeros(16, device=device)
    found["launch_us"] = seconds(lambda: [small.add_(1) for _ in range(LAUNCHES)], device) / LAUNCHES * 1e6
    peaks = {"copy_tb_per_s": peak_bandwidth(name), "bfloat16_tflops": peak_flops(name, "bfloat16")}
    for key, value in found.items():
        peak = peaks.get(key)
        print(f"{key}: {value:.4g}" + (f" of {peak / 1e12:.4g} ({value * 1e12 / peak:.0%})" if peak else ""))
    return found


def copy_rate(count: int, device: str) -> float:
    """Bytes per second, read and written, of a copy of `count` float32 numbers."""
    source = torch.zeros(count, device=device)
    target = torch.empty_like(source)
    return 8 * count / seconds(lambda: target.copy_(source), device)


def seconds(work: Callable[[], object], device: str, repeats: int = 7) -> float:
    """Median time of `work` after two unmeasured turns, the device waited for at both ends."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    taken = []
    for _ in range(repeats + 2):
        wait()
        began = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


if __name__ == "__main__":
    main()
