"""Tiny real tokenizers and models, built on the spot: no download, milliseconds each.

tokenizer = tiny_tokenizer("llama3")
model = tiny_model("qwen2", vocab=len(tokenizer))
"""

from __future__ import annotations

from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCAB = 320
"""No tiny tokenizer is larger: 256 bytes, special tokens, and the few merges of a few words."""

# The shapes of the templates in the wild, one trait each: a default system prompt and a newline
# after the turn (chatml: SmolLM2, Qwen2.5); the template writes BOS itself and trims (llama3); other
# role names, no system role (gemma); thoughts in the last turn only (qwen3); no template (base).
TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
        "<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llama3": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "gemma": (
        "{{ bos_token }}{% for m in messages %}"
        "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "qwen3": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "base": None,
}
SPECIAL = {
    "chatml": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "llama3": [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ],
    "gemma": ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"],
    "qwen3": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "base": ["<|endoftext|>"],
}
ROLES = {
    # As these families ship: the end of *text*, which is not what ends an assistant's turn.
    "chatml": {"eos_token": "<|endoftext|>"},
    "llama3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
    "gemma": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
    "qwen3": {"eos_token": "<|endoftext|>"},
    "base": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
}
CORPUS = [
    "user assistant system model the answer is a test of some words and the rest\n\n",
    "red green blue " * 3,
]


def tiny_tokenizer(template: str = "chatml") -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with at most `VOCAB` tokens and one of `TEMPLATES`.

    Every string survives encoding and decoding. Like Qwen's, it joins newlines into one token.
    """
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_bpe(template)),
        clean_up_tokenization_spaces=False,
        additional_special_tokens=SPECIAL[template],
        **ROLES[template],
    )
    tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


@cache
def _bpe(template: str) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern=_newlines(), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIAL[template],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return tokenizer.to_str()


def _newlines():
    from tokenizers import Regex

    return Regex(r"\s*[\r\n]+")


ARCHITECTURES = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
    "gemma2": (
        Gemma2Config,
        Gemma2ForCausalLM,
        {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 64},
    ),
    "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM, {"hidden_dropout": 0.0, "attention_dropout": 0.0}),
}


def tiny_model(
    arch: str = "llama",
    vocab: int = VOCAB,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **settings: object,
):
    """A random decoder: hidden 32, 2 layers, 4 heads (2 key-value heads), in evaluation mode.

    `settings` go to the config. The global random state is left alone.
    """
    Config, Model, own = ARCHITECTURES[arch]
    shared = {
        "vocab_size": vocab,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": None,
    }
    if arch != "gpt_neox":
        shared["num_key_value_heads"] = 2
    config = Config(**{**shared, **own, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Model(config).to(dtype).eval()
