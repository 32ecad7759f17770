"""Tiny random decoders of many architectures, and rows for them."""

from __future__ import annotations

import numpy as np
import torch
import transformers as hf

from boresight.data.rows import Completion, Row

VOCABULARY = 61
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = SHAPE | {"num_key_value_heads": 2}

CONFIGS = {
    "llama": lambda: hf.LlamaConfig(**GROUPED),
    "llama-tied-biased": lambda: hf.LlamaConfig(**GROUPED, tie_word_embeddings=True, attention_bias=True),
    "qwen2": lambda: hf.Qwen2Config(**GROUPED),
    "qwen3": lambda: hf.Qwen3Config(**GROUPED, head_dim=8),
    "gemma": lambda: hf.GemmaConfig(**GROUPED, head_dim=8),
    "gemma2": lambda: hf.Gemma2Config(
        **GROUPED, head_dim=8, sliding_window=64, final_logit_softcapping=2.0, attn_logit_softcapping=1.5
    ),
    "gemma3": lambda: hf.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=64),
    "gpt-neox": lambda: hf.GPTNeoXConfig(**SHAPE),
    "granite": lambda: hf.GraniteConfig(**GROUPED, logits_scaling=3.0),
    "cohere": lambda: hf.CohereConfig(**GROUPED),
}


def build(config, dtype=torch.float32, seed=0):
    """A random model of `config` with weights large enough that every token matters to every later one."""
    torch.manual_seed(seed)
    if getattr(config, "attn_logit_softcapping", None):
        config._attn_implementation = "eager"  # what sdpa cannot do, and older transformers leaves out
    model = hf.AutoModelForCausalLM.from_config(config).to(dtype).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(6) if weight.dim() > 1 else weight.add_(0.2 * torch.randn_like(weight))
            assert weight.isfinite().all(), name
    if dtype == torch.float64:
        keep_norms_in_float64(model)
    return model


def keep_norms_in_float64(model):
    """transformers' RMSNorm rounds to float32 whatever comes in, which hides agreement beyond 1e-7."""
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("RMSNorm"):
            eps = getattr(module, "variance_epsilon", None) or module.eps
            shift = 1.0 if kind.startswith("Gemma") else 0.0

            def forward(x, module=module, eps=eps, shift=shift):
                return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * (shift + module.weight)

            module.forward = forward


def make_row(prompt, *completions, masks=None, id="r"):
    """A row from lists of token ids; every token scored unless `masks` says otherwise."""
    masks = masks or [[True] * len(c) for c in completions]
    return Row(
        id=id,
        prompt=np.array(prompt, np.int32),
        completions=tuple(
            Completion(np.array(c, np.int32), np.array(m, bool))
            for c, m in zip(completions, masks, strict=True)
        ),
    )


def random_rows(count, k, seed, longest_prompt=12, longest_completion=9):
    """Rows with random lengths, tokens and masks; completions may be empty or wholly unscored."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        lengths = rng.integers(0, longest_completion + 1, k)
        rows.append(
            make_row(
                rng.integers(0, VOCABULARY, rng.integers(1, longest_prompt + 1)),
                *(rng.integers(0, VOCABULARY, n) for n in lengths),
                masks=[rng.random(n) < 0.8 for n in lengths],
                id=str(i),
            )
        )
    return rows
