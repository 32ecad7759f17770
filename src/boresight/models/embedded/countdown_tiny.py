"""The embedded model `countdown-tiny`: an untrained 0.87M-parameter decoder for Countdown.

It can be trained from scratch in minutes. Its vocabulary contains only the tokens of the task: the numbers
from 0 to 99, operators, parentheses and tags. A problem takes five tokens and a solution with its search
about two dozen, so supervised training and reinforcement learning both show real learning curves on a laptop.

    <user> 3 7 8 = 29 <assistant> <think> 10 4 21 _ = 21 </think> <answer> 3 * 7 + 8 </answer> <eos>

It is a Llama and not a Qwen2 because transformers 5 gives every folder whose config contains `qwen2` the
tokenizer class of Qwen2, whatever its own files contain, and that class silently splits 12 into 1 and 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from boresight.core.files import atomic_folder
from boresight.models.embedded.random_llama import save_random_llama

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

NAME = "countdown-tiny"
VERSION = 2
"""Part of the cache folder's name; increase it when `build_countdown_tiny` writes different files."""


MAX_TOKENS = 256

PAD, UNKNOWN, EOS, USER, ASSISTANT = "<pad>", "<unk>", "<eos>", "<user>", "<assistant>"
SPECIAL = (PAD, UNKNOWN, EOS, USER, ASSISTANT)
WORDS = ("<answer>", "</answer>", "<think>", "</think>", "=", "+", "-", "*", "/", "(", ")", "_", ";")
NUMBERS = tuple(str(number) for number in range(100))

TOKEN = r"</?[a-z]+>|[0-9]{1,2}|[^\s]"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content }}<eos>{% endgeneration %}"
    "{% else %}<user>{{ message.content }}<assistant>{% endif %}"
    "{% endfor %}"
)


def path(seed: int = 0) -> Path:
    """Return the folder of the untrained model, which is built on first use; `seed` initializes its
    weights."""
    from boresight.core.files import cache_folder

    folder = cache_folder() / f"{NAME}-{VERSION}-seed{seed}"
    if not folder.is_dir():
        with atomic_folder(folder, replace=False) as target:
            build_countdown_tiny(target, seed)
    return folder


def build_countdown_tiny(folder: Path, seed: int = 0) -> None:
    """Write the untrained model, its config, generation config and tokenizer to `folder`."""
    save_random_llama(config(), tokenizer(), folder, seed)


def config() -> LlamaConfig:
    """Return the config of the model: four layers of width 128, 0.87 million parameters."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=_id(PAD),
        bos_token_id=None,
        eos_token_id=_id(EOS),
        dtype="float32",
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per number, operator and tag; white space only separates tokens."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Sequence, Split, WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(WordLevel(vocabulary(), unk_token=UNKNOWN))
    core.pre_tokenizer = Sequence([WhitespaceSplit(), Split(Regex(TOKEN), behavior="isolated")])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=EOS,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_TOKENS,
    )


def vocabulary() -> dict[str, int]:
    """Return the map from tokens to ids: special tokens, words, numbers."""
    return {token: index for index, token in enumerate((*SPECIAL, *WORDS, *NUMBERS))}


def _id(token: str) -> int:
    return vocabulary()[token]
