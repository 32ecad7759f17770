"""Write one GGUF file of a model and its tokenizer, quantized here or by llama.cpp."""

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
    """Write `model` to `path` in a quantization of this package; `name` is the model's name in the file.

    `console` shows the progress over tensors.

    Raises:
        UserError: a weight or a pre-tokenizer without a name in GGUF.
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
    """Vectors stay float32; rows that are no whole number of blocks become float16, as in llama.cpp."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if weight.ndim == 1:
        return GGMLQuantizationType.F32
    wanted = chosen.embeddings if name in ("token_embd.weight", "output.weight") else chosen.tensors
    kind = GGMLQuantizationType[str(wanted)]
    whole = weight.shape[-1] % GGML_QUANT_SIZES[kind][0] == 0
    return kind if whole else GGMLQuantizationType.F16
