"""Supported quantizations; each is performed by this package or by llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Quantization:
    """A quantization of GGUF files.

    Attributes:
        file_type: name in `gguf.LlamaFileType`.
        error: maximum relative error of a tensor due to rounding (Frobenius norm). A tensor with a wrong name
            or a wrong order of rows has an error of about 1.4.
        tensors: type of the linear layers, a name in `gguf.GGMLQuantizationType`; None if llama.cpp performs
            the quantization and chooses the type of each tensor.
        embeddings: type of the embeddings and the output head, which need more bits; None as for `tensors`.
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
    """Return the distinct names in a list such as `q8_0,q4_0`.

    Raises:
        UserError: a name is unknown, or there is no name.
    """
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in QUANTIZATIONS:
            raise UserError(f"--gguf: {name!r} is not a quantization{nearest(name, QUANTIZATIONS)}.")
    if not names:
        raise UserError("--gguf: name at least one quantization, as in --gguf q8_0,q4_0.")
    return names
