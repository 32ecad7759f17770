"""Read the model, as float32, and the tokenizer from a GGUF file, with transformers."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, cast

from boresight.models.checkpoint.silence_hf import quiet_bars

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from boresight.data.tokenizer import Tokenizer


def read_gguf_tokenizer(file: Path) -> Tokenizer:
    """Return the tokenizer in `file`, with its chat template."""
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    return cast("Tokenizer", found)


def read_gguf_model(file: Path) -> PreTrainedModel:
    """Return the language model in `file`, dequantized to float32, in evaluation mode.

    The config of the model that transformers returns declares it as quantized, although every tensor is
    float32. Such a model could not be trained or reloaded, so its weights are copied to a model with a new
    config.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with quiet_bars(), contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader's bar has no switch
        loaded = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
        )
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    model = type(loaded)(type(loaded.config).from_dict(settings))
    model.load_state_dict(loaded.state_dict(), strict=True)
    model.generation_config = loaded.generation_config
    return cast("PreTrainedModel", model.eval())
