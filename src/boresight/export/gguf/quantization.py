"""The supported quantizations, written by this package or by llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Quantization:
    """One quantization.

    `tensors` and `embeddings` are names of `GGMLQuantizationType`: that of the linear layers, and that of the
    embeddings and the output head, which need more bits. Both are None where llama.cpp chooses by tensor.
    `file_type` is a name of `LlamaFileType`. `error` is the largest relative error (Frobenius norm) that
    rounding may leave in a tensor; a tensor under the wrong name or in another order has one of about 1.4.
    """

    file_type: str
    error: float
    tensors: str | None = None
    embeddings: str | None = None


QUANTIZATIONS = {
    "f16": Quantization("MOSTLY_F16", 1e-3, "F16", "F16"),
    "q8_0": Quantization("MOSTLY_Q8_0", 0.03, "Q8_0", "Q8_0"),
    "q4_0": Quantization("MOSTLY_Q4_0", 0.25, "Q4_0", "Q8_0"),
    "q4_k_m": Quantization("MOSTLY_Q4_K_M", 0.25),
    "q5_k_m": Quantization("MOSTLY_Q5_K_M", 0.15),
    "q6_k": Quantization("MOSTLY_Q6_K", 0.1),
}


def parse_quantizations(text: str) -> tuple[str, ...]:
    """The names in a list such as `q8_0,q4_0`, each once. Raises `UserError` for a name that is unknown."""
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in QUANTIZATIONS:
            raise UserError(f"--gguf: {name!r} is not a quantization{nearest(name, QUANTIZATIONS)}.")
    if not names:
        raise UserError("--gguf: name at least one quantization, as in --gguf q8_0,q4_0.")
    return names
