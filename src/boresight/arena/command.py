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
    """Serve the arena of two run folders or answers files until it is interrupted.

    Args:
        a: run folder or answers file of one system.
        b: run folder or answers file of the other system; None compares with the start model of the run `a`.
        out: folder in which votes are stored; None makes `runs/arena-A-B` from the names of the systems.
        port: port of the server; 0 takes a free one.
        seed: seed of the order of the prompts and of the sides of the answers.
        goal: number of votes after which the result is shown; None requires a vote on every prompt.
        console: console for messages; None prints to the terminal.

    Raises:
        UserError: nothing to vote on, a goal that cannot be reached, votes on other systems or answers in
            `out`, or a port that is taken.
    """
    console = console or Terminal(soft_wrap=True)
    duels = read_duels(a, b, seed)
    goal = votes_wanted(duels, goal)
    check_port(port)  # before the folder for votes is created
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
    """Return the sentence to print at the end: the result, or how to continue if votes are missing."""
    votes = server.votes
    if server.finished:
        return win_rate_sentence(votes)
    so_far = f"{len(votes):,} of {plural(server.goal, 'vote')}"
    return f"{so_far}. Run the same command to continue; the result is shown after the last one."
