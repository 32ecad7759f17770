"""Recognize quantized weights, and dequantize the supported kinds while loading.

Training changes weights by less than the quantization step, so quantized weights cannot be trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from boresight.core.errors import UserError
from boresight.models.checkpoint.headers import Saved

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

DEQUANTIZED = {"fp8": "FineGrainedFP8Config", "mxfp4": "Mxfp4Config"}
"""Quantization methods that transformers can dequantize while loading, with the name of its config class for
each."""
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
"""Dtypes of weights that are not quantized, under safetensors' names."""


def refuse_quantized(config: PreTrainedConfig, name: str) -> None:
    """Raise a `UserError` if the config declares quantized weights that cannot be dequantized while
    loading."""
    method = _method(config)
    if method is not None and method not in DEQUANTIZED:
        raise UserError(
            f"model: {name!r} is quantized ({method}), and quantized weights cannot be trained; take the "
            "model that it was made from."
        )


def dequantize(config: PreTrainedConfig) -> Any:
    """Return the config with which transformers dequantizes weights while loading; None for weights that are
    not quantized."""
    import transformers

    method = _method(config)
    return None if method is None else getattr(transformers, DEQUANTIZED[method])(dequantize=True)


def refuse_integers(saved: Mapping[str, Saved], model: PreTrainedModel, name: str) -> None:
    """Raise a `UserError` if a parameter is saved as integers and the config does not declare quantization.

    transformers would cast the integers to floating point without applying their scales.
    """
    if _method(model.config) is not None:
        return
    own = {key for key, _ in model.named_parameters()}
    for key, tensor in saved.items():
        if tensor.dtype not in FLOATS and own.intersection((key, f"{model.base_model_prefix}.{key}")):
            raise UserError(
                f"model: the weights of {name!r} are not floating-point numbers ({key} is {tensor.dtype}), "
                "and such weights cannot be trained; take the model that it was made from."
            )


def _method(config: PreTrainedConfig) -> str | None:
    found = getattr(config, "quantization_config", None) or getattr(config, "compression_config", None)
    if not found:
        return None
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(getattr(method, "value", method) or "by an unnamed method")
