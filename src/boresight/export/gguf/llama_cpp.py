"""Quantize through an installed llama.cpp: its program `llama-quantize`, or the package llama-cpp-python."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from boresight.core.errors import UserError
from boresight.core.plugins import is_installed

PROGRAM, PACKAGE = "llama-quantize", "llama_cpp"
BY_PACKAGE = """
import sys, llama_cpp
source, target, kind = sys.argv[1:]
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + kind)
sys.exit(llama_cpp.llama_model_quantize(source.encode(), target.encode(), params))
"""
"""Python code that does the same as `llama-quantize SOURCE TARGET KIND`. It runs in a process of its own,
which llama.cpp aborts on errors."""
LONGEST = 7200.0
"""Seconds after which quantization is given up."""


def quantizer() -> Sequence[str]:
    """The command of an installed llama.cpp that quantizes; its arguments are a GGUF file, the file to write
    and the name of a quantization.

    Raises:
        UserError: there is no llama.cpp.
    """
    if program := shutil.which(PROGRAM):
        return [program]
    if is_installed(PACKAGE):
        return [sys.executable, "-c", BY_PACKAGE]
    raise UserError(
        "--gguf: K-quantizations need llama.cpp, which is not installed: put its `llama-quantize` on the "
        "PATH, or run `pip install llama-cpp-python`; q8_0 and q4_0 need neither."
    )


def quantize_file(source: Path, target: Path, quantization: str) -> None:
    """Write `source`, a GGUF file in float16, to `target` in a quantization of llama.cpp.

    Raises:
        UserError: llama.cpp fails; its last line is given.
    """
    command = [*quantizer(), str(source), str(target), quantization.upper()]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=LONGEST,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"--gguf: llama.cpp did not write {quantization} ({error}).") from None
    if done.returncode != 0 or not target.is_file():
        lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".split("\n") if line.strip()]
        said = f"exit {done.returncode}: {(lines or ['no output'])[-1]}"
        raise UserError(f"--gguf: llama.cpp did not write {quantization} ({said}).")
