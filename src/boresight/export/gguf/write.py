"""Write a model and its tokenizer to a GGUF file, in one of the quantizations that this package performs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from boresight.core.console import progress
from boresight.core.version import VERSION
from boresight.data.tokenizer import Tokenizer
from boresight.export.gguf.architecture import ARCHITECTURES, add_shape, named_tensors
from boresight.export.gguf.quantization import QUANTIZATIONS, Quantization
from boresight.export.gguf.vocabulary import add_tokenizer

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType
    from transformers import PreTrainedModel


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    quantization: str,
    name: str,
    console: Console | None = None,
) -> None:
    """Write `model` and its tokenizer to the GGUF file `path`.

    Args:
        quantization: a quantization that this package performs: `f16`, `q8_0` or `q4_0`.
        name: name of the model in the file's metadata.
        console: console on which progress is shown.

    Raises:
        UserError: a weight has no name in GGUF, or the tokenizer is not supported.
    """
    from gguf import GGUFWriter, LlamaFileType, quantize
    from gguf.constants import GGML_QUANT_VERSION

    chosen = QUANTIZATIONS[quantization]
    writer = GGUFWriter(path, ARCHITECTURES[model.config.model_type].arch.lower())
    writer.add_type("model")
    writer.add_name(name)
    writer.add_description(f"Written by boresight {VERSION}")
    writer.add_file_type(LlamaFileType[chosen.file_type])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    add_shape(writer, model.config)
    add_tokenizer(writer, tokenizer, model.config.vocab_size)
    with progress(console, "quantizing tensors", len(model.state_dict())) as advance:
        for tensor, weight in named_tensors(model):
            kind = _kind_of(tensor, weight, chosen)
            writer.add_tensor(tensor, quantize(weight, kind), raw_dtype=kind)
            advance(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _kind_of(name: str, weight: np.ndarray, chosen: Quantization) -> GGMLQuantizationType:
    """Return the type in which a tensor is stored, as llama.cpp chooses it.

    Vectors stay in float32. Matrices whose row length is not a multiple of the block size become float16.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if weight.ndim == 1:
        return GGMLQuantizationType.F32
    wanted = chosen.embeddings if name in ("token_embd.weight", "output.weight") else chosen.tensors
    kind = GGMLQuantizationType[str(wanted)]
    whole = weight.shape[-1] % GGML_QUANT_SIZES[kind][0] == 0
    return kind if whole else GGMLQuantizationType.F16
