"""`boresight arena`: from two runs to a page, until it is interrupted."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from boresight.arena.duels import read_duels
from boresight.arena.server import Arena
from boresight.arena.votes import Votes
from boresight.core.console import Terminal
from boresight.serving.loopback import check_port


def arena(
    a: Path, b: Path, out: Path | None, port: int = 0, seed: int = 0, console: Console | None = None
) -> None:
    """Serve the arena of two run folders or answers files; votes go to `out` and are kept there.

    Raises:
        UserError: nothing to vote on, votes on other systems in `out`, or a port that is taken.
    """
    console = console or Terminal(soft_wrap=True)
    duels = read_duels(a, b, seed)
    check_port(port)  # before there is a folder for votes
    votes = Votes(out or Path("runs") / f"arena-{a.resolve().stem}-{b.resolve().stem}", duels.names)
    try:
        with Arena(duels, votes, port) as server:
            console.print(duels.sentence, markup=False, highlight=False)
            console.print(f"Votes go to {votes.folder}. Open {server.url}", markup=False, highlight=False)
            console.print("Press Ctrl-C to end.", highlight=False)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                console.print(server.standing()["says"], markup=False, highlight=False)
    finally:
        votes.close()
