"""Build a judge together with the ledger that stores its replies or scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from boresight.llm.budget import refuse_unpriced
from boresight.llm.ledger import Ledger
from boresight.llm.transports.openai import read_key
from boresight.scorers import judges
from boresight.scorers.judges.base import Judge, JudgeConfig
from boresight.scorers.judges.endpoint import EndpointConfig, Kept, LedgerCompleter

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def open_judge(settings: JudgeConfig, ledger: str | Path, console: Console | None = None) -> Iterator[Judge]:
    """Context manager that yields the judge with these settings.

    The ledger is opened if the judge needs one.

    Raises:
        UserError: the API key of an endpoint is not set, or there is a spending limit in dollars and the
            price is unknown.
    """
    if isinstance(settings, EndpointConfig):
        refuse_unpriced(settings.budget, [settings])
    build = judges.get(judges.name_of(settings)).build
    if not settings.needs_ledger:
        yield build(settings, None, console)
        return
    with Ledger(ledger) as kept:
        if isinstance(settings, EndpointConfig):
            if not kept.spent().requests:  # else the ledger may have every reply, and no key is needed
                read_key(settings.key_env)
            yield build(settings, LedgerCompleter(settings, kept, console), console)
        else:
            yield build(settings, Kept(kept), console)
