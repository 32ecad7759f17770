"""Choose the chat template of a tokenizer: its own, one of several, a built-in one, or a file."""

from __future__ import annotations

from pathlib import Path

from boresight.core.errors import UserError
from boresight.core.files import expanded
from boresight.data.stop_tokens import end_of_turn
from boresight.data.tokenizer import Tokenizer

TEMPLATES = Path(__file__).parents[1] / "templates"
BOS = "{{- bos_token -}}"


def ensure_chat_template(tokenizer: Tokenizer, spec: str | None = None) -> None:
    """Set the chat template of a tokenizer to `spec`; without `spec`, the tokenizer must have one.

    Args:
        tokenizer: the tokenizer, changed in place.
        spec: `chatml`, `plain` (ends a turn with the tokenizer's own eos token), a Jinja file, or the name of
            one of the tokenizer's own templates.

    Raises:
        UserError: no template, no such template, several without a default, a template that cannot render a
            question and its answer, or one that ends no turn with a special token.
    """
    if spec is not None:
        tokenizer.chat_template = _called(spec, tokenizer)
    own = tokenizer.chat_template
    if isinstance(own, dict) and "default" not in own:
        raise UserError(
            f"model.chat_template: the tokenizer has several chat templates and none called default; set it "
            f"to the name of one ({', '.join(sorted(own))})."
        )
    end_of_turn(tokenizer)


def adds_bos(tokenizer: Tokenizer) -> bool:
    """Return whether the tokenizer inserts a beginning-of-sequence token before every text."""
    if tokenizer.bos_token_id is None:
        return False
    ids = tokenizer.backend_tokenizer.encode("a", add_special_tokens=True).ids
    return ids[:1] == [tokenizer.bos_token_id]


def _called(spec: str, tokenizer: Tokenizer) -> str:
    """Return the text of the template `spec`.

    Raises:
        UserError: there is no such template.
    """
    own, builtin = tokenizer.chat_template, {file.stem: file for file in TEMPLATES.glob("*.j2")}
    if isinstance(own, dict) and spec in own:
        return own[spec]
    if spec in builtin:
        # The model was never trained without BOS, and rendered text is encoded without special tokens.
        return (BOS if adds_bos(tokenizer) else "") + builtin[spec].read_text(encoding="utf-8")
    if (text := _in_file(spec)) is not None:
        return text
    names = ", ".join([*sorted(builtin), *sorted(own if isinstance(own, dict) else ())])
    raise UserError(f"model.chat_template: {spec!r} is neither a file nor one of {names}.")


def _in_file(spec: str) -> str | None:
    """Return the text of a Jinja file; None if there is no such file.

    Raises:
        UserError: the file is not UTF-8 text.
    """
    try:
        file = expanded(spec)
        return file.read_text(encoding="utf-8-sig") if file.is_file() else None
    except UnicodeDecodeError as error:
        raise UserError(
            f"model.chat_template: {spec} is not UTF-8 at byte {error.start}; give the path of a Jinja file."
        ) from None
    except (OSError, ValueError):  # a name that no file can have
        return None
