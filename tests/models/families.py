"""Tiny random models of many families, one trait or more each; every token matters, for weights are large."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tests.models.tiny_decoders import GROUPED, SHAPE, VOCABULARY

SIZES = GROUPED | {"initializer_range": 0.2}
ALONE = SHAPE | {"initializer_range": 0.2}
"""The same without `num_key_value_heads`."""
WINDOW = 16
"""Tokens that a sliding window holds: less than rows have."""
GPT2_SIZES = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LOCAL_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
}
MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8}
GEMMA = {"head_dim": 8, "sliding_window": WINDOW}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}

# name: (config class, sizes, own settings)
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # Dense, with rotary positions
    "Llama": ("Llama", SIZES, {}),
    "Qwen 2": ("Qwen2", SIZES, {"tie_word_embeddings": True}),
    "Qwen 3": ("Qwen3", SIZES, {"head_dim": 8}),
    "OLMo 2": ("Olmo2", SIZES, {}),
    "Phi 3": ("Phi3", SIZES, {}),
    "Phi: half rotary, bias in the head": ("Phi", SIZES, {}),
    "StableLM": ("StableLm", SIZES, {}),
    "Nemotron": ("Nemotron", SIZES, {}),
    "Granite: four multipliers": (
        "Granite",
        SIZES,
        {
            "logits_scaling": 3.0,
            "embedding_multiplier": 2.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.2,
        },
    ),
    "Cohere: scaled logits, parallel blocks": ("Cohere", SIZES, {"logit_scale": 0.25}),
    # Windows, caps, layers without positions
    "Mistral: sliding window": ("Mistral", SIZES, {"sliding_window": WINDOW}),
    "Gemma 2: soft caps": (
        "Gemma2",
        SIZES,
        {
            "head_dim": 8,
            "sliding_window": WINDOW,
            "final_logit_softcapping": 2.0,
            "attn_logit_softcapping": 1.5,
        },
    ),
    "Gemma 3": ("Gemma3Text", SIZES, GEMMA),
    "Gemma 3 with its vision tower": ("Gemma3", {}, {"text_config": SIZES | GEMMA, "vision_config": VISION}),
    "Gemma 4: layers that share keys": (
        "Gemma4Text",
        SIZES,
        {
            "head_dim": 8,
            "global_head_dim": 16,
            "sliding_window": WINDOW,
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 8,
            "num_global_key_value_heads": 1,
        },
    ),
    "Gemma 4: heads of two widths": (
        "Gemma4Text",
        SIZES,
        GEMMA
        | {
            "global_head_dim": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 8,
        },
    ),
    "Exaone 4": ("Exaone4", SIZES, {"sliding_window": WINDOW, "sliding_window_pattern": 2}),
    "SmolLM 3: layers without positions": ("SmolLM3", SIZES, {"no_rope_layers": [1, 0]}),
    "Llama 4: chunked attention": (
        "Llama4Text",
        SIZES,
        {
            "attention_chunk_size": WINDOW,
            "head_dim": 8,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "intermediate_size_mlp": 48,
        },
    ),
    "Phi 3.5 MoE: a window that its layers do not pass on": (
        "Phimoe",
        SIZES,
        {"sliding_window": WINDOW, "router_jitter_noise": 0.5, **LOCAL_EXPERTS},
    ),
    "Qwen 2 MoE: a window that its layers do not pass on": (
        "Qwen2Moe",
        SIZES,
        {
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "max_window_layers": 1,
            "shared_expert_intermediate_size": 16,
            **EXPERTS,
        },
    ),
    "AFMoE: a view of what attention returns": ("Afmoe", SIZES, {**GEMMA, **EXPERTS}),
    "gpt-oss: sinks": ("GptOss", SIZES, {"head_dim": 8, "sliding_window": WINDOW, **LOCAL_EXPERTS}),
    # Positions that are learned, or none but a bias
    "GPT-2": ("GPT2", GPT2_SIZES, {}),
    "GPT-J": ("GPTJ", GPT2_SIZES, {"rotary_dim": 4}),
    "GPT-NeoX": ("GPTNeoX", ALONE, {"rotary_pct": 0.25}),
    "OPT": (
        "OPT",
        {},
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 256,
            "word_embed_proj_dim": 32,
            "init_std": 0.2,
        },
    ),
    "BLOOM: ALiBi": (
        "Bloom",
        {},
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "n_layer": 2,
            "n_head": 4,
            "initializer_range": 0.2,
        },
    ),
    "MPT: ALiBi": (
        "Mpt",
        {},
        {
            "vocab_size": VOCABULARY,
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 256,
            "initializer_range": 0.2,
        },
    ),
    # Mixtures of experts, and latent attention
    "Mixtral": ("Mixtral", SIZES, LOCAL_EXPERTS | {"router_jitter_noise": 0.1}),
    "Qwen 3 MoE": ("Qwen3Moe", SIZES, {"head_dim": 8, **EXPERTS}),
    "DeepSeek V2": ("DeepseekV2", ALONE, {**LATENT, "n_shared_experts": 1}),
    "DeepSeek V3": ("DeepseekV3", ALONE, LATENT),
    "DBRX: noise in the router": (
        "Dbrx",
        {},
        {
            "vocab_size": VOCABULARY,
            "d_model": 32,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 256,
            "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
            "ffn_config": {"ffn_hidden_size": 16, "moe_top_k": 2, "moe_jitter_eps": 0.1},
            "initializer_range": 0.2,
        },
    ),
    "JetMoE": (
        "JetMoe",
        {key: value for key, value in ALONE.items() if key != "num_attention_heads"},
        {"num_key_value_heads": 2, "kv_channels": 8, **LOCAL_EXPERTS},
    ),
    # State spaces, convolutions and linear attention
    "Mamba": (
        "Mamba",
        {},
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    ),
    "Bamba": ("Bamba", SIZES, {"attn_layer_indices": [1], "mamba_chunk_size": 8, **MAMBA2}),
    "Falcon H1: both in one layer": (
        "FalconH1",
        SIZES,
        {"mamba_d_ssm": 64, "lm_head_multiplier": 0.3, **MAMBA2},
    ),
    "Jamba": (
        "Jamba",
        SIZES,
        {
            "num_experts": 2,
            "attn_layer_offset": 1,
            "attn_layer_period": 2,
            "mamba_d_state": 8,
            "use_mamba_kernels": False,
        },
    ),
    "MiniMax: lightning attention": (
        "MiniMax",
        SIZES,
        {"head_dim": 8, "num_local_experts": 2, "layer_types": ["full_attention", "linear_attention"]},
    ),
    "LFM 2: convolutions": (
        "Lfm2",
        SIZES,
        {"layer_types": ["conv", "full_attention"], "block_multiple_of": 16},
    ),
    "Qwen 3 Next: gated delta rule": (
        "Qwen3Next",
        SIZES,
        {"head_dim": 8, "shared_expert_intermediate_size": 16, **EXPERTS, **LINEAR},
    ),
}

REFUSED = {
    "BERT": (
        "Bert",
        ALONE,
        "BertLMHeadModel of '.*' attends to the tokens that it should predict: it is an encoder and not",
    ),
    "T5": (
        "T5",
        {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4},
        "is of an architecture that transformers offers neither as a causal language model nor",
    ),
    "XLNet": (
        "XLNet",
        {"vocab_size": VOCABULARY, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
        "XLNetLMHeadModel of '.*' attends to the tokens that it should predict",
    ),
}


def config_of(family: str) -> Any:
    name, sizes, own = FAMILIES[family]
    return getattr(hf, f"{name}Config")(**(sizes | own))
