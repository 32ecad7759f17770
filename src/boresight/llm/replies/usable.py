"""Stop early if none of a model's replies can be used, before all of them are paid for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from boresight.llm.replies.failures import Stopped, one_line
from boresight.llm.replies.reply import Reply

Reader = Callable[[Reply], str | None]
"""Function that returns the reason why a reply without a failure cannot be used; None if it can be used."""

ENOUGH = 12
"""Number of unusable replies, without a usable one, after which a stage stops."""
PROBES = 4
"""Maximum number of requests in flight until the first usable reply; with three rounds each they make
`ENOUGH` replies."""
OF_THE_SETTINGS = frozenset({"truncated", "empty", "invalid_json", "invalid_text"})
"""Kinds of failures that are due to the model or its settings. Refusals are due to a prompt, and the other
kinds to a server."""


def usual_reader(reply: Reply) -> str | None:
    """Return None for every reply; the default `Reader`, for which any text can be used."""
    return None


@dataclass
class _Seen:
    unusable: int = 0
    usable: bool = False
    example: str = ""
    probing: int = 0
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)


class UsableReplies:
    """Counter of usable and unusable replies by stage and model, including replies from the ledger."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], _Seen] = {}

    @asynccontextmanager
    async def probe(self, stage: str, model: str) -> AsyncIterator[None]:
        """Context manager that limits the requests in flight to `PROBES` until a reply was usable.

        Entering it waits while the limit is reached; after the first usable reply there is no limit.
        """
        seen = self._seen.setdefault((stage, model), _Seen())
        while not seen.usable and seen.probing >= PROBES:
            turn = asyncio.get_running_loop().create_future()
            seen.waiting.append(turn)
            await turn
        seen.probing += 1
        try:
            yield
        finally:
            seen.probing -= 1
            seen.wake()

    def note(
        self, stage: str, model: str, failure: str | None, detail: str, text: str = "", replies: int = 1
    ) -> None:
        """Count the result of a request that took `replies` replies.

        Raises:
            Stopped: at least `ENOUGH` replies were received, and none can be used. The message quotes the
                first.
        """
        seen = self._seen.setdefault((stage, model), _Seen())
        if failure is None:
            seen.usable = True
            seen.wake()
        elif failure in OF_THE_SETTINGS:
            seen.unusable += replies
            quoted = f", which reads {text[-120:]!r}" if text else ""
            seen.example = seen.example or one_line(f"{failure}: {detail}{quoted}")
        if seen.unusable >= ENOUGH and not seen.usable:
            raise Stopped(
                f"{stage}: none of the first {seen.unusable} replies of {one_line(model)} can be used "
                f"({seen.example}); change its settings or take another model.",
                other_recipe=True,
            )
