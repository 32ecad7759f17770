"""Errors that are shown to users as one sentence, and one-line messages of other exceptions."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")
"""Match the system's error number in messages of libraries written in Rust (safetensors, tokenizers)."""
NO_MEMORY = re.compile(
    r"DefaultCPUAllocator|(CUDA|HIP) error: out of memory|MPS backend out of memory|STATUS_ALLOC_FAILED"
)
"""Match torch's messages about insufficient memory that have no exception class of their own."""
REQUESTED = re.compile(r"allocate (\d[\d.]*) ?([KMGTPE]?i?B|bytes)")
"""Match the size of the failed allocation in messages of torch and numpy."""


class OneSentence(Exception):
    """An exception whose message is shown to users without a traceback."""

    of_own_code = False
    """Whether the error comes from the user's own code; a notebook then prints the traceback."""

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython prints in place of a traceback.

        Raises:
            NotImplementedError: the error comes from the user's own code; IPython then prints its own
                traceback.
        """
        if self.of_own_code:
            raise NotImplementedError
        return [f"{type(self).__name__}: {self}"]


class UserError(OneSentence):
    """An error in what the user provided, such as a recipe, a data file or an option.

    The message is one sentence: what is wrong, where (file, row, field), and how to fix it. The command line
    prints it without a traceback and exits with code 2.

    Args:
        message: the sentence.
        closing: the sentence that the command line prints instead, if it has printed the cause already.
        of_own_code: whether the error comes from the user's own code.
    """

    def __init__(self, message: str, *, closing: str | None = None, of_own_code: bool = False) -> None:
        # A sentence that ends with a suggestion ("did you mean 'lr'?") is over.
        super().__init__(message[:-1] if message.endswith("?.") else message)
        self.closing = str(self) if closing is None else closing
        self.of_own_code = of_own_code


@contextmanager
def naming(name: str, instead_of: str) -> Iterator[None]:
    """Inside the block, replace `instead_of` at the start of a `UserError` by `name`, the option or key that
    the user wrote."""
    try:
        yield
    except UserError as error:
        if not str(error).startswith(f"{instead_of}: "):
            raise
        raise type(error)(f"{name}{str(error).removeprefix(instead_of)}") from error


def system_error_number(error: BaseException) -> int:
    """Return the system's number of an error, as in `errno`; 0 if it has none."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = SYSTEM_ERROR.search(str(error))
    return int(found[1]) if found else 0


def memory_error(error: BaseException) -> str | None:
    """Return `out of memory (2.00 GiB were requested)` if the error reports insufficient memory, else None.

    The function does not import torch: torch's errors can occur only if it is imported already.
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
    """Return the text with control characters, line breaks and lone surrogates escaped, as `\\n` and `\\x1b`.

    Apply it to file names and to texts of users, models and servers before printing them: a terminal would
    execute control sequences in them.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def first_line(error: Exception) -> str:
    """Return the first line of the error's message without its full stop, or the error's class without a
    message.

    A first line that ends in a colon announces the next one, so both are joined.
    """
    lines = [line.strip() for line in str(error).split("\n") if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".")


def named_first_line(error: Exception) -> str:
    """Return the error's class and the first line of its message, such as `KeyError: 'prompt'`."""
    first = (str(error).strip() or "no message").split("\n")[0]
    return f"{type(error).__name__}: {first}"
