"""Whether a wheel of boresight can be installed beside vLLM, and beside unsloth: nothing is installed.

    python scripts/check_neighbors.py dist/boresight-0.1.0-py3-none-any.whl

Resolves with uv where it is installed (half a minute each), else with pip. Ends with code 1 where one of them
has no solution, with the resolver's reason.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

NEIGHBORS = ("vllm==0.33.0", "unsloth")
PYTHON = "3.12"
SHOWN = ("boresight", "torch", "transformers", "peft", "datasets", *(n.partition("=")[0] for n in NEIGHBORS))


def main() -> int:
    (wheel,) = sys.argv[1:]
    failed = 0
    for neighbor in NEIGHBORS:
        code, text = resolve(Path(wheel).resolve(), neighbor)
        failed |= code
        versions = [line for line in text.split("\n") if line.partition("==")[0].strip() in SHOWN]
        print(f"{neighbor}: {text.strip() if code else ', '.join(versions)}")
    return int(failed != 0)


def resolve(wheel: Path, neighbor: str) -> tuple[int, str]:
    """Exit code of the resolver, and what it found as lines of `name==version`, or why there is nothing."""
    if uv := shutil.which("uv"):
        wanted = f"boresight @ {wheel.as_uri()}\n{neighbor}\n"
        options = ["--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28", "--no-annotate"]
        command = [uv, "pip", "compile", "-", "--quiet", "--no-header", *options]
        found = subprocess.run(command, input=wanted, capture_output=True, text=True)
        return found.returncode, found.stderr if found.returncode else found.stdout
    options = ["install", "--dry-run", "--ignore-installed", str(wheel), neighbor]
    found = subprocess.run([sys.executable, "-m", "pip", *options], capture_output=True, text=True)
    last = found.stdout.strip().rpartition("Would install ")[2]
    listed = "\n".join("==".join(name.rsplit("-", 1)) for name in last.split())
    return found.returncode, found.stderr if found.returncode else listed


if __name__ == "__main__":
    sys.exit(main())
