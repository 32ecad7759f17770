"""The arena's HTTP server: on the loopback interface only, and with a token in every request.

Model answers are untrusted: the page receives them as JSON and inserts them as text nodes, and its content
security policy runs no script but its own. Until all votes are in, the page contains neither the names of the
systems nor the intermediate result, which would bias the remaining votes and the decision to stop. The result
is shown on request, and no vote can change after that.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from boresight.arena.duels import Duels
from boresight.arena.result import judged_prompts, next_commands, win_rate_sentence
from boresight.arena.votes import CHOICES, Votes, winner_of
from boresight.core.errors import UserError
from boresight.core.wording import cut_at_tokens
from boresight.reports.page import page
from boresight.serving.loopback import LoopbackHandler, LoopbackServer, Refused

LONGEST_BODY = 10_000
"""Maximum size of a request body, in bytes; a vote is an id and a choice."""
NOT_LAST = "Only the last vote can be taken back, and another one came after this; reload the page."


class Arena(LoopbackServer):
    """HTTP server of one arena.

    Args:
        goal: number of votes after which the result is shown; None requires a vote on every prompt.
        show: called with a sentence about the result when the page first shows it.

    Raises:
        UserError: a goal below 1 or above the number of prompts, or a port that is taken.
    """

    def __init__(
        self,
        duels: Duels,
        votes: Votes,
        port: int = 0,
        goal: int | None = None,
        show: Callable[[str], object] = str,
    ) -> None:
        self.show = show
        self.goal, self.revealed = votes_wanted(duels, goal), False
        super().__init__(Handler, port)
        self.duels, self.votes = duels, votes
        self.by_id = {duel.prompt.id: duel for duel in duels.duels}
        self.lock = Lock()

    @property
    def url(self) -> str:
        """Address of the page, including the token."""
        return f"{self.address}/?token={self.token}"

    @property
    def finished(self) -> bool:
        """Whether the number of votes has reached `goal`."""
        return len(self.votes) >= self.goal

    def page(self) -> str:
        """Return the page as HTML: the questions without a vote, or the result once it has been requested."""
        with self.lock:
            if self.revealed:
                return self._result()
            left = [duel for duel in self.duels.duels if duel.prompt.id not in self.votes]
            standing = self.standing()
        duels = [
            {
                "id": d.prompt.id,
                "prompt": d.prompt.prompt,
                "left": d.left[1],
                "right": d.right[1],
                "cuts": {side: cut_at_tokens(n) for side, n in zip(("left", "right"), d.cut_at, strict=True)},
            }
            for d in left
        ]
        payload = {
            "duels": duels,
            "token": self.token,
            "standing": standing,
            "folder": str(self.votes.folder),
        }
        return page("arena.html.j2", "Arena", payload, scripts=["regions.js", "arena.js"], connects=True)

    def _result(self) -> str:
        judged = judged_prompts(self.duels, self.votes)
        return page(
            "arena_result.html.j2",
            "Arena",
            scripts=["regions.js"],
            names=self.duels.names,
            sentence=win_rate_sentence(self.votes),
            folder=str(self.votes.folder),
            ties=self.votes.ties,
            decided=len(self.votes) - self.votes.ties,
            commands=next_commands(self.votes, judged),
            judged=judged,
        )

    def vote(self, body: dict[str, Any]) -> dict[str, Any]:
        """Record the vote in a request body, and return the counts of `standing`.

        The same vote sent again changes nothing; a different vote on the same prompt is refused.
        """
        duel, choice = self.by_id.get(str(body.get("id"))), body.get("choice")
        if duel is None or choice not in CHOICES:
            raise Refused(HTTPStatus.BAD_REQUEST, "A vote needs a known id and left, right or tie.")
        with self.lock:
            if duel.prompt.id in self.votes:
                if self.votes.winner(duel.prompt.id) != winner_of(duel, choice):
                    raise Refused(HTTPStatus.CONFLICT, "This prompt has a vote already; reload the page.")
            elif self.finished:
                raise Refused(HTTPStatus.CONFLICT, "All votes are in; reload the page.")
            else:
                self.votes.add(duel, choice)
            return self.standing()

    def undo(self, body: dict[str, Any]) -> dict[str, Any]:
        """Withdraw the last vote, and return the counts of `standing`.

        Refused if the prompt in the request body is not the one with the last vote, or if the result has been
        shown.
        """
        with self.lock:
            if self.revealed:
                raise Refused(HTTPStatus.CONFLICT, "The result was shown; no vote changes after it.")
            if not self.votes.undo(str(body.get("id"))):
                raise Refused(HTTPStatus.CONFLICT, NOT_LAST)
            return self.standing()

    def reveal(self, body: dict[str, Any]) -> dict[str, Any]:
        """Show the result on the page from now on; refused before all votes are in."""
        with self.lock:
            if not self.finished:
                raise Refused(HTTPStatus.CONFLICT, f"The result is shown after {self.goal:,} votes.")
            if not self.revealed:
                self.revealed = True
                self.show(win_rate_sentence(self.votes))
            return self.standing()

    def standing(self) -> dict[str, Any]:
        """Return the number of votes so far, and the number of votes after which the result is shown."""
        return {"votes": len(self.votes), "total": self.goal}


def votes_wanted(duels: Duels, goal: int | None) -> int:
    """Return the number of votes after which the result is shown: `goal`, or one per prompt if None.

    Raises:
        UserError: the goal is below 1 or above the number of prompts.
    """
    prompts = len(duels.duels)
    if goal is not None and not 1 <= goal <= prompts:
        raise UserError(f"--votes: {goal} is not between 1 and {prompts:,}, the prompts to vote on.")
    return prompts if goal is None else goal


class Handler(LoopbackHandler):
    """Handles one HTTP request to the arena: the page, or an action on its votes."""

    server: Arena
    longest_body = LONGEST_BODY

    def do_GET(self) -> None:
        """Send the page."""
        self.serve(self._page)

    def do_POST(self) -> None:
        """Record a vote, withdraw the last one, or show the result."""
        self.serve(self._act)

    def _page(self) -> None:
        address = urlsplit(self.path)
        if address.path != "/":
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")
        self.check_token(parse_qs(address.query).get("token", [""])[0])
        self.send_text(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page())

    def _act(self) -> None:
        actions = {"/vote": self.server.vote, "/undo": self.server.undo, "/reveal": self.server.reveal}
        action = actions.get(self.path)
        if action is None:
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")
        self.check_token(self.headers.get("X-Token", ""))
        try:
            found = action(self.read_body())
        except OSError as error:
            sentence = f"The vote is not saved: {error.strerror or error}."
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, sentence) from None
        self.send_json(found)
