"""`boresight arena`: from two runs to a page, until it is interrupted."""

from __future__ import annotations

import socket
from pathlib import Path

from rich.console import Console

from boresight.arena.duels import Duels, read_duels
from boresight.arena.server import Arena
from boresight.arena.votes import Votes
from boresight.core.console import Terminal
from boresight.core.errors import UserError


def arena(
    a: Path, b: Path, out: Path | None, port: int = 0, seed: int = 0, console: Console | None = None
) -> None:
    """Serve the arena of two run folders or answers files; votes go to `out` and are kept there.

    Raises:
        UserError: nothing to vote on, votes on other systems in `out`, or a port that is taken.
    """
    console = console or Terminal(soft_wrap=True)
    duels = read_duels(a, b, seed)
    _check_port(port)  # before there is a folder for votes
    votes = Votes(out or Path("runs") / f"arena-{a.resolve().stem}-{b.resolve().stem}", duels.names)
    try:
        with _server(duels, votes, port) as server:
            console.print(duels.sentence, markup=False, highlight=False)
            console.print(f"Votes go to {votes.folder}. Open {server.url}", markup=False, highlight=False)
            console.print("Press Ctrl-C to end.", highlight=False)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                console.print(server.standing()["says"], markup=False, highlight=False)
    finally:
        votes.close()


def _check_port(port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        raise _unusable(port, error) from None


def _server(duels: Duels, votes: Votes, port: int) -> Arena:
    try:
        return Arena(duels, votes, port)
    except OSError as error:  # taken a moment ago
        raise _unusable(port, error) from None


def _unusable(port: int, error: Exception) -> UserError:
    return UserError(f"--port: {port} cannot be used ({error}); leave it out to take a free one.")
