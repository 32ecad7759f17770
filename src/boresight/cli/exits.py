"""How a command ends: its exit code, and one sentence on stderr for everything that is not a success.

0        done
1        something was found: an error in `check`, a malformed row in `data check`, a failed arm of a study,
         an option that `convert` could not translate
2        the input is wrong (a recipe, a file, an option), or the disk or the memory is full
70       an error in boresight itself; the traceback is in a file, whose path is printed
128 + n  ended by signal n: 129 for a closed terminal, 130 for Ctrl-C, 141 for a closed pipe
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from boresight.cli.streams import tolerating_closed_pipes
from boresight.core.errors import (
    UserError,
    memory_error,
    named_first_line,
    system_error_number,
    terminal_safe,
)
from boresight.core.interrupt import SIGPIPE, Interrupted

DONE, FOUND, BAD_INPUT, INTERNAL = 0, 1, 2, 70
BY_SIGNAL = 128
LONGEST = 3_000
"""Maximum number of characters of a sentence that are printed."""
LESS_MEMORY = (
    "for training set train.activations=recompute, lower train.tokens_per_forward, or train adapters "
    "(model.lora={}); for anything else take a smaller model, or a device with more memory."
)


def run(app: Callable[[list[str]], Any], arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code and prints the sentence that explains it."""
    with tolerating_closed_pipes():
        try:
            code = _code_of(app, arguments)
            sys.stdout.flush()  # the last lines may not fit on a disk, or have no reader
            return code
        except UserError as error:
            return _end(BAD_INPUT, error.closing, "red")
        except Interrupted as error:
            return _end(BY_SIGNAL + error.number, str(error), "yellow")
        except KeyboardInterrupt:
            return _end(BY_SIGNAL + signal.SIGINT, "interrupted.", "yellow")
        except BrokenPipeError:
            return BY_SIGNAL + SIGPIPE
        except OSError as error:
            return _end(BAD_INPUT, _os_sentence(error), "red")
        except Exception as error:
            if reason := memory_error(error):
                return _end(BAD_INPUT, f"{reason}; {LESS_MEMORY}", "red")
            if number := system_error_number(
                error
            ):  # a library that raises errors of its own for a full disk
                return _end(BAD_INPUT, _os_sentence(OSError(number, os.strerror(number))), "red")
            return _end(INTERNAL, _internal(error), "red")


def _code_of(app: Callable[[list[str]], Any], arguments: Sequence[str]) -> int:
    try:
        app(list(arguments))
    except SystemExit as end:  # how Typer ends every verb
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return DONE


def print_sentence(sentence: str, color: str) -> None:
    """Print a sentence on standard error, also with `--quiet`; does nothing if standard error is closed."""
    from rich.text import Text

    from boresight.core.console import Terminal

    with contextlib.suppress(OSError, ValueError):
        said = Text(f"boresight: {_cut(terminal_safe(sentence))}", style=color)
        Terminal(file=sys.stderr, soft_wrap=True).print(said)  # also with --quiet


def _cut(sentence: str) -> str:
    """Return the sentence; if it is too long, for example by a long value, without its middle."""
    return sentence if len(sentence) <= LONGEST else f"{sentence[: LONGEST // 2]}…{sentence[-LONGEST // 2 :]}"


def _end(code: int, sentence: str, color: str) -> int:
    print_sentence(sentence, color)
    return code


def _os_sentence(error: OSError) -> str:
    """Return the sentence for an error of the operating system.

    E.g. `/proc/run: Permission denied; check the path, its permissions and the space on its disk.`
    """
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; check the path, its permissions and the space on its disk."


def _internal(error: Exception) -> str:
    """Write the traceback of an internal error to a file, and return a sentence with the path of the file."""
    what = f"an error in boresight itself ({named_first_line(error)})"
    name = f"boresight-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    file = Path(tempfile.gettempdir()) / name
    try:
        file.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="replace")
    except OSError:
        return f"{what}; its traceback could not be written."
    return f"{what}; please report it with its traceback, which is in {file}."
