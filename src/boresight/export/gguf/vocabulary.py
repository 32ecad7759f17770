"""Write a tokenizer to GGUF's metadata: typed tokens, merges, pre-tokenizer, special ids, chat template.

llama.cpp contains the code of its pre-tokenizers and selects one by name. A tokenizer can therefore be
written only if its pre-tokenizer is one of those below, which are recognized by their steps.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from boresight.core.errors import UserError
from boresight.core.schema import Message
from boresight.data.rendering.template import render_messages
from boresight.data.stop_tokens import end_of_turn
from boresight.data.tokenizer import Tokenizer
from boresight.export.gguf.architecture import INSTEAD

if TYPE_CHECKING:
    from gguf import GGUFWriter

QUESTION: list[Message] = [{"role": "user", "content": "What is a tide?"}]
COMMON_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {
    COMMON_SPLIT.replace("DIGITS", r"\p{N}"): "qwen2",
    COMMON_SPLIT.replace("DIGITS", r"\p{N}{1,3}"): "llama-bpe",
}
"""Name of the pre-tokenizer in llama.cpp, by the regular expression that splits text before merges."""


def add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer, size: int) -> None:
    """Write the metadata of a tokenizer for a model with `size` embeddings.

    Raises:
        UserError: the tokenizer is not byte-level BPE, its pre-tokenizer has no name in llama.cpp, or it has
            more tokens than the model.
    """
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    pre = pre_tokenizer_name(backend)
    tokens, types = typed_tokens(tokenizer, size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(
        [pair if isinstance(pair, str) else " ".join(pair) for pair in backend["model"]["merges"]]
    )
    end = end_of_turn(tokenizer).id
    writer.add_eos_token_id(end)
    writer.add_eot_token_id(end)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_add_bos_token(bool(opening_bos(tokenizer)))
    writer.add_add_space_prefix(False)
    writer.add_chat_template(tokenizer.get_chat_template())


def opening_bos(tokenizer: Tokenizer) -> str:
    """Return the BOS token if the chat template begins with it and has it only once, else ''.

    llama.cpp adds such a BOS token itself.
    """
    bos = None if tokenizer.bos_token_id is None else tokenizer.convert_ids_to_tokens(tokenizer.bos_token_id)
    text = render_messages(tokenizer, QUESTION, ask=True)
    return bos if bos and text.startswith(bos) and text.count(bos) == 1 else ""


def typed_tokens(tokenizer: Tokenizer, size: int) -> tuple[list[str], list[int]]:
    """Return the tokens of a vocabulary of `size` and their types; ids without a token have the type UNUSED.

    Raises:
        UserError: the tokenizer has more than `size` tokens.
    """
    from gguf import TokenType

    known = {id: token for token, id in tokenizer.backend_tokenizer.get_vocab(True).items()}
    if max(known) >= size:
        raise UserError(f"--gguf: the tokenizer has {max(known) + 1:,} tokens and the model {size:,}.")
    added = tokenizer.added_tokens_decoder
    tokens: list[str] = []
    types: list[int] = []
    for id in range(size):
        tokens.append(known.get(id, f"[PAD{id}]"))
        if id not in known:
            types.append(TokenType.UNUSED)
        elif id in added:
            types.append(TokenType.CONTROL if added[id].special else TokenType.USER_DEFINED)
        else:
            types.append(TokenType.NORMAL)
    return tokens, types


def pre_tokenizer_name(backend: dict[str, Any]) -> str:
    """Return llama.cpp's name of a pre-tokenizer, given the JSON of the tokenizer.

    Raises:
        UserError: llama.cpp has no such pre-tokenizer, or the tokenizer is not supported.
    """
    model, normalizer = backend["model"], backend.get("normalizer") or {"type": None}
    if model["type"] != "BPE" or model.get("byte_fallback") or model.get("dropout"):
        raise UserError(f"--gguf: only tokenizers with byte-level BPE are supported; {INSTEAD}")
    if normalizer["type"] not in (None, "NFC"):  # llama.cpp assumes normalized text
        raise UserError(f"--gguf: the normalizer {normalizer['type']} is not supported; {INSTEAD}")
    name = _name_of_steps(backend.get("pre_tokenizer") or {"type": None})
    if name is None or bool(model.get("ignore_merges")) != (name == "llama-bpe"):
        raise UserError(f"--gguf: this tokenizer splits text as no pre-tokenizer named here; {INSTEAD}")
    return name


def _name_of_steps(pre_tokenizer: dict[str, Any]) -> str | None:
    steps = pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    *before, last = steps
    if last["type"] != "ByteLevel" or last["add_prefix_space"]:
        return None
    if last["use_regex"]:
        digits = [{"type": "Digits", "individual_digits": True}]
        return "gpt-2" if not before else "smollm" if before == digits else None
    if len(before) != 1 or before[0]["type"] != "Split":
        return None
    split = before[0]
    plain = (split["behavior"], split["invert"]) == ("Isolated", False)
    return SPLITS.get(split["pattern"].get("Regex", "")) if plain else None
