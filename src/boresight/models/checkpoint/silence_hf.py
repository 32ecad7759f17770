"""Suppress progress bars and warnings of transformers where this package prints its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_bars(quiet: bool = True) -> Iterator[None]:
    """Inside the block, disable transformers' progress bars; afterwards restore the former setting."""
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
    """Inside the block, suppress transformers' warnings; the caller must check what they report."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
