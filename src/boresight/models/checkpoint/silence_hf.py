"""Suppress progress bars and warnings of libraries where this package prints its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_bars(quiet: bool = True) -> Iterator[None]:
    """Switch transformers' progress bars off inside the block, and back on if they were on."""
    from transformers.utils import logging

    switch = quiet and logging.is_progress_bar_enabled()
    if switch:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if switch:
            logging.enable_progress_bar()


@contextmanager
def quiet_warnings() -> Iterator[None]:
    """Keep transformers' warnings out of the log inside the block; the caller checks what they report."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
