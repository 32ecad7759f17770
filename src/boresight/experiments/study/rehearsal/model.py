"""Build a tiny random chat model that replaces any other model: one token per byte, built in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from boresight.data.rendering.choose import ensure_chat_template
from boresight.models.embedded.random_llama import save_random_llama

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from boresight.data.tokenizer import Tokenizer

MAX_TOKENS = 4096
"""Maximum context length, in tokens. Prompts have about four times as many tokens as with the tokenizer of
the replaced model, since a token is a byte."""
END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, START, END)


def build_stand_in(folder: Path) -> None:
    """Write a random Llama of two layers of width 32 and its tokenizer to `folder`.

    Its layers have the names that Qwen2 and Llama share, so that the target modules of LoRA are found.
    """
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=len(SPECIAL) + 256,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
        dtype="float32",
    )
    save_random_llama(config, byte_tokenizer(), folder)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer with a chat template and one token per byte, which can encode and decode any text."""
    import tokenizers
    from tokenizers import decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = tokenizers.Tokenizer(BPE({token: index for index, token in enumerate((*SPECIAL, *letters))}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        clean_up_tokenization_spaces=False,
        pad_token=END_OF_TEXT,
        eos_token=END,
        additional_special_tokens=[START],
        model_max_length=MAX_TOKENS,
    )
    ensure_chat_template(cast("Tokenizer", tokenizer), "chatml")
    return tokenizer
