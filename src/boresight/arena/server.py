"""The arena's server: loopback only, a token for every request, nothing but the page and its votes.

Model answers are untrusted: they reach the page as JSON and its text nodes, and the page's policy runs no
script but its own. Which system stands where is known to the server alone.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from boresight.arena.duels import Duels
from boresight.arena.votes import CHOICES, Votes
from boresight.reports.page import page
from boresight.stats.units import unit_named

LONGEST_BODY = 10_000
"""Bytes of a vote; an id and a choice."""


class Refused(Exception):
    """A request that is not served: a status, and a sentence for whoever sent it."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Arena(ThreadingHTTPServer):
    """Serves one arena on 127.0.0.1; `url` holds the token. Port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, duels: Duels, votes: Votes, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.duels, self.votes = duels, votes
        self.token = secrets.token_urlsafe(24)
        self.by_id = {duel.prompt.id: duel for duel in duels.duels}
        self.lock = Lock()
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/?token={self.token}"

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
        return page("arena.html.j2", "Arena", payload, script="arena.js", connects=True)

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


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Arena
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """The page."""
        self._serve(self._page)

    def do_POST(self) -> None:
        """A vote, or its withdrawal."""
        self._serve(self._act)

    def log_message(self, *_: object) -> None:
        """The token stands in the address, so addresses are not logged."""

    def _page(self) -> None:
        address = urlsplit(self.path)
        if address.path != "/":
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")
        self._check_token(parse_qs(address.query).get("token", [""])[0])
        self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page())

    def _act(self) -> None:
        actions = {"/vote": self.server.vote, "/undo": self.server.undo}
        action = actions.get(self.path)
        if action is None:
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here.")
        self._check_token(self.headers.get("X-Token", ""))
        try:
            found = action(self._body())
        except OSError as error:
            sentence = f"The vote is not saved: {error.strerror or error}."
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, sentence) from None
        self._answer(HTTPStatus.OK, "application/json", json.dumps(found))

    def _serve(self, act: Callable[[], None]) -> None:
        try:
            # A page elsewhere that resolves its own name to this machine is not let in.
            if self.headers.get("Host") not in self.server.hosts:
                raise Refused(HTTPStatus.FORBIDDEN, "This server answers to 127.0.0.1 alone.")
            act()
        except Refused as refused:
            self.close_connection = True  # its body may not have been read
            self._answer(refused.status, "application/json", json.dumps({"error": str(refused)}))

    def _check_token(self, given: str) -> None:
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            raise Refused(
                HTTPStatus.FORBIDDEN, "The token is missing or wrong; open the address that was printed."
            )

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > LONGEST_BODY:
            raise Refused(HTTPStatus.BAD_REQUEST, "The request has no body, or one that is too long.")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "The body is not a JSON object.")
        return body

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        content = text.encode("utf-8", "replace")
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
