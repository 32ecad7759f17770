"""Translate the model, precision and adapters of a TRL config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boresight.conversion.translation import Translation

LORA_OPTIONS = (
    *("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "use_rslora", "use_dora"),
    *("lora_target_parameters", "lora_modules_to_save"),
)
PEFT_TARGETS = ["q_proj", "v_proj"]
"""Linear layers that PEFT adapts by default in Llama, Mistral, Qwen and Gemma."""


def translate_model(t: Translation, sampled: bool) -> None:
    """Set the model, its precision and its adapters.

    Args:
        sampled: whether the method trains on completions that it samples.
    """
    if t["model_name_or_path"] is None:
        t.leave_open("model.name", "your-model", "a folder or hub id")
    else:
        t.put("model.name", t["model_name_or_path"], "model_name_or_path")
    _precision(t)
    _template(t)
    # Most trainers of TRL disable dropout by default. With sampled completions it would change the ratio.
    off = sampled or t["disable_dropout"]
    t.put(
        "model.dropout",
        0.0 if off else None,
        "disable_dropout",
        why="" if off else "rates of the model's config",
    )
    if sampled and t.has("disable_dropout") and not t["disable_dropout"]:
        t.remark("disable_dropout", "differs", "samples are drawn without dropout")
    if t["use_cpu"]:
        t.put("model.device", "cpu", "use_cpu")
    _adapters(t, sampled)


def _precision(t: Translation) -> None:
    fp16, weights = bool(t["fp16"]), t["dtype"] or "float32"
    bf16 = not fp16 if t["bf16"] is None else bool(t["bf16"])
    if fp16 and bf16:
        raise t.refuse("fp16", "bf16 is true as well; keep one of them")
    narrow = weights if weights in ("bfloat16", "float16") else "float32"
    t.put("model.dtype", "bfloat16" if bf16 else "float16" if fp16 else narrow, "bf16", "fp16")
    if weights == "float32":
        t.exact("dtype")


def _template(t: Translation) -> None:
    path = t["chat_template_path"]
    if path is None:
        return
    if Path(path).suffix in (".jinja", ".j2", ".jinja2"):
        t.put("model.chat_template", path, "chat_template_path")
        t.exact("chat_template_path")
    else:
        t.remark("chat_template_path", "missing", "must be a Jinja file: save its chat_template into one")


def _adapters(t: Translation, sampled: bool) -> None:
    if not t["use_peft"]:
        t.put("model.lora", None, "use_peft", why="all weights are trained")
        for option in LORA_OPTIONS:
            t.remark(option, "unneeded", "use_peft is off, so TRL ignores it")
        if t["load_in_4bit"]:
            t.remark("load_in_4bit", "missing", "a base in 4 bits needs adapters: use_peft")
        return
    rank = t["lora_r"]
    lora: dict[str, Any] = {
        "r": rank,
        "alpha": float(t["lora_alpha"]) * (rank**0.5 if t["use_rslora"] else 1),
        "dropout": 0.0 if sampled or t["disable_dropout"] else t["lora_dropout"],
        "targets": _targets(t),
    }
    if t["load_in_4bit"]:
        lora["base"] = "nf4"
    t.put("model.lora", lora, *LORA_OPTIONS)
    _adapter_dropout(t, sampled)
    t.exact("use_rslora")


def _adapter_dropout(t: Translation, sampled: bool) -> None:
    if t["lora_dropout"] and t["disable_dropout"]:
        t.remark("lora_dropout", "unneeded", "disable_dropout sets that of adapters to 0, in TRL as here")
    elif t["lora_dropout"] and sampled:
        t.remark("lora_dropout", "differs", "samples are drawn without dropout, so the ratio would not be 1")
    else:
        t.exact("lora_dropout")


def _targets(t: Translation) -> str | list[str]:
    given = t["lora_target_modules"]
    if given is None:
        text = "PEFT chooses by the model; q_proj and v_proj in Llama, Mistral, Qwen and Gemma"
        t.remark("lora_target_modules", "differs", text)
        return list(PEFT_TARGETS)
    t.exact("lora_target_modules")
    names = [str(name) for name in given]
    return "all-linear" if names == ["all-linear"] else names
