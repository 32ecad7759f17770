"""Quantize with an installed llama.cpp: the program `llama-quantize`, or the package llama-cpp-python."""

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
"""Python code that does the same as `llama-quantize SOURCE TARGET KIND`.

It runs in a separate process, since llama.cpp aborts its process on errors.
"""
LONGEST = 7200.0
"""Maximum duration of a quantization, in seconds."""


def quantizer() -> Sequence[str]:
    """Return the command with which the installed llama.cpp quantizes a file.

    The command takes three arguments: a GGUF file, the file to write, and the name of a quantization.

    Raises:
        UserError: llama.cpp is not installed.
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
    """Quantize `source`, a GGUF file in float16, with llama.cpp, and write the result to `target`.

    Raises:
        UserError: llama.cpp is not installed, or fails; the message then contains its last line of output.
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
