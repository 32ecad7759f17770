"""Interface of the tokenizers that this package uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend


class Tokenizer(Protocol):
    """Interface of a `PreTrainedTokenizerFast` of transformers.

    It is a protocol because that class looks up its special tokens at run time, where a type checker cannot
    see them, and because its methods accept many more types than are used here.
    """

    chat_template: str | dict[str, str] | None
    eos_token: str | None
    pad_token: str | None

    @property
    def eos_token_id(self) -> int | None: ...

    @property
    def pad_token_id(self) -> int | None: ...

    @property
    def bos_token_id(self) -> int | None: ...

    @property
    def unk_token_id(self) -> int | None: ...

    @property
    def special_tokens_map(self) -> Mapping[str, Any]: ...

    @property
    def added_tokens_decoder(self) -> Mapping[int, AddedToken]: ...

    @property
    def backend_tokenizer(self) -> Backend: ...

    def __len__(self) -> int: ...

    def get_chat_template(
        self, chat_template: str | None = None, tools: list[dict[str, Any]] | None = None
    ) -> str: ...

    def decode(
        self,
        token_ids: Sequence[int] | np.ndarray,
        *,
        skip_special_tokens: bool,
        clean_up_tokenization_spaces: bool = False,
    ) -> str: ...

    def convert_ids_to_tokens(self, ids: int) -> str: ...

    def save_pretrained(self, save_directory: str | Path) -> object: ...
