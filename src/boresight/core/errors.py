"""Errors that are shown to users as one sentence, and one-line messages of other exceptions."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust (safetensors, tokenizers) write the system's number of an error."""
NO_MEMORY = re.compile(
    r"DefaultCPUAllocator|(CUDA|HIP) error: out of memory|MPS backend out of memory|STATUS_ALLOC_FAILED"
)
"""How torch writes that memory is short, where its error has no class of its own."""
REQUESTED = re.compile(r"allocate (\d[\d.]*) ?([KMGTPE]?i?B|bytes)")
"""The size of the request that failed, in errors of torch and numpy."""


class OneSentence(Exception):
    """An exception whose message is all that a user needs."""

    of_own_code = False
    """Whether the cause is an error in the user's own code, whose traceback a notebook prints."""

    def _render_traceback_(self) -> list[str]:
        """Text that IPython prints in place of a traceback; raises to let IPython print its own."""
        if self.of_own_code:
            raise NotImplementedError
        return [f"{type(self).__name__}: {self}"]


class UserError(OneSentence):
    """Something the user gave is wrong.

    The message is one sentence: what is wrong, where (file, row, field), and how to fix it.
    The command line prints it without a traceback and exits with code 2.

    Args:
        message: the sentence.
        closing: the sentence that the command line prints instead, if it has printed the cause already.
        of_own_code: as the attribute.
    """

    def __init__(self, message: str, *, closing: str | None = None, of_own_code: bool = False) -> None:
        # A sentence that ends with a suggestion ("did you mean 'lr'?") is over.
        super().__init__(message[:-1] if message.endswith("?.") else message)
        self.closing = str(self) if closing is None else closing
        self.of_own_code = of_own_code


@contextmanager
def naming(name: str, instead_of: str) -> Iterator[None]:
    """Inside the block a `UserError` that begins with `instead_of` begins with `name`, the option or key that
    the user wrote."""
    try:
        yield
    except UserError as error:
        if not str(error).startswith(f"{instead_of}: "):
            raise
        raise type(error)(f"{name}{str(error).removeprefix(instead_of)}") from error


def system_error_number(error: BaseException) -> int:
    """The system's number of an error, as `errno` names them; 0 where there is none."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = SYSTEM_ERROR.search(str(error))
    return int(found[1]) if found else 0


def memory_error(error: BaseException) -> str | None:
    """`out of memory (2.00 GiB were requested)` for an error of that kind; None for any other.

    Does not import torch, whose errors exist only where it is imported already.
    """
    of_torch = getattr(sys.modules.get("torch"), "OutOfMemoryError", MemoryError)
    text = str(error)
    if not isinstance(error, (MemoryError, of_torch)) and not (
        isinstance(error, RuntimeError) and NO_MEMORY.search(text)
    ):
        return None
    size = REQUESTED.search(text)
    return f"out of memory ({size[1]} {size[2]} were requested)" if size else "out of memory"


def terminal_safe(text: str) -> str:
    """The text with control characters, line breaks and lone surrogates written out, as `\\n` and `\\x1b`.

    Apply it to file names and to texts of users, models and servers before printing them: a terminal would
    execute control sequences in them.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def first_line(error: Exception) -> str:
    """First line of the error's message, without its full stop; the error's class if it has no message.

    A first line that ends in a colon announces the next one, so both are joined.
    """
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".")


def named_first_line(error: Exception) -> str:
    """The error's class and the first line of its message: `KeyError: 'prompt'`."""
    first = (str(error).strip() or "no message").split("\n")[0]
    return f"{type(error).__name__}: {first}"
