"""Keep the libraries' own progress bars off the terminal where ours say enough."""

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
