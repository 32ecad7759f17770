"""The arena's server: loopback only, a token for every request, nothing but the page and its votes.

Model answers are untrusted: they reach the page as JSON and its text nodes, and the page's policy runs no
script but its own. Which system stands where is known to the server alone.
"""

from __future__ import annotations

from http import HTTPStatus
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from boresight.arena.duels import Duels
from boresight.arena.votes import CHOICES, Votes
from boresight.reports.page import page
from boresight.serving.loopback import LoopbackHandler, LoopbackServer, Refused
from boresight.stats.units import unit_named

LONGEST_BODY = 10_000
"""Bytes of a vote; an id and a choice."""


class Arena(LoopbackServer):
    """Serves one arena; `url` holds the token."""

    def __init__(self, duels: Duels, votes: Votes, port: int = 0) -> None:
        super().__init__(Handler, port)
        self.duels, self.votes = duels, votes
        self.by_id = {duel.prompt.id: duel for duel in duels.duels}
        self.lock = Lock()

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"{self.address}/?token={self.token}"

    def page(self) -> str:
        """The page with every duel that has no vote yet."""
        with self.lock:
            left = [duel for duel in self.duels.duels if duel.prompt.id not in self.votes]
            standing = self.standing()
        duels = [
            {"id": d.prompt.id, "prompt": d.prompt.prompt, "left": d.left[1], "right": d.right[1]}
            for d in left
        ]
        payload = {
            "duels": duels,
            "token": self.token,
            "standing": standing,
            "folder": str(self.votes.folder),
        }
        return page("arena.html.j2", "Arena", payload, scripts=["arena.js"], connects=True)

    def vote(self, body: dict[str, Any]) -> dict[str, Any]:
        """Record a vote, once: a second one on the same prompt changes nothing."""
        duel, choice = self.by_id.get(str(body.get("id"))), body.get("choice")
        if duel is None or choice not in CHOICES:
            raise Refused(HTTPStatus.BAD_REQUEST, "A vote needs a known id and left, right or tie.")
        with self.lock:
            if duel.prompt.id not in self.votes:
                self.votes.add(duel, choice)
            return self.standing()

    def undo(self, body: dict[str, Any]) -> dict[str, Any]:
        """Take the last vote back."""
        with self.lock:
            return {"undone": self.votes.undo(), **self.standing()}

    def standing(self) -> dict[str, Any]:
        """Votes so far, and the win rate in words."""
        rate, unit = self.votes.rate, unit_named("share")
        first, second = self.duels.names
        said = "No votes yet."
        if rate is not None:
            votes = "1 vote" if rate.n == 1 else f"{rate.n:,} votes"
            said = f"{second} wins {unit.estimate(rate)} against {first} in {votes}."
        return {"votes": len(self.votes), "total": len(self.duels.duels), "says": said}


class Handler(LoopbackHandler):
    """One request."""

    server: Arena
    longest_body = LONGEST_BODY

    def do_GET(self) -> None:
        """The page."""
        self.serve(self._page)

    def do_POST(self) -> None:
        """A vote, or its withdrawal."""
        self.serve(self._act)

    def _page(self) -> None:
        address = urlsplit(self.path)
        if address.path != "/":
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")
        self.check_token(parse_qs(address.query).get("token", [""])[0])
        self.send_text(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page())

    def _act(self) -> None:
        actions = {"/vote": self.server.vote, "/undo": self.server.undo}
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
