"""`boresight arena`: serve the voting page for two runs until it is interrupted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rich.console import Console

from boresight.arena.duels import read_duels, short_name
from boresight.arena.result import win_rate_sentence
from boresight.arena.server import Arena, votes_wanted
from boresight.arena.votes import Votes
from boresight.core.console import Terminal
from boresight.core.wording import plural
from boresight.serving.loopback import check_port


def arena(
    a: Path,
    b: Path | None,
    out: Path | None,
    port: int = 0,
    seed: int = 0,
    goal: int | None = None,
    console: Console | None = None,
) -> None:
    """Serve the arena of two run folders or answers files; votes are stored in the folder `out`.

    Args:
        b: None for the start model of the run `a`.
        goal: votes after which the result is shown; None asks for one on every prompt.

    Raises:
        UserError: nothing to vote on, a goal that cannot be reached, votes on other systems or answers in
            `out`, or a port that is taken.
    """
    console = console or Terminal(soft_wrap=True)
    duels = read_duels(a, b, seed)
    goal = votes_wanted(duels, goal)
    check_port(port)  # before there is a folder for votes
    other = "start" if b is None else short_name(b)
    votes = Votes(out or Path("runs") / f"arena-{short_name(a)}-{other}", duels)
    show = partial(console.print, markup=False, highlight=False)
    try:
        with Arena(duels, votes, port, goal, show) as server:
            show(duels.sentence)
            show(f"The result is shown after {plural(goal, 'vote')}.")
            show(f"Votes go to {votes.folder}. Open {server.url}")
            show("Press Ctrl-C to end.")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                if not server.revealed:
                    show(closing_sentence(server))
    finally:
        votes.close()


def closing_sentence(server: Arena) -> str:
    """A sentence for the terminal: the result of a finished arena, or how to continue an unfinished one."""
    votes = server.votes
    if server.finished:
        return win_rate_sentence(votes)
    so_far = f"{len(votes):,} of {plural(server.goal, 'vote')}"
    return f"{so_far}. Run the same command to continue; the result is shown after the last one."
