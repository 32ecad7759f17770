"""An HTTP server for this machine alone: loopback only, a token for every request, bounded bodies."""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from boresight.core.errors import UserError

LINGER_SECONDS = 2.0
LONGEST_DISCARDED = 64_000_000
"""Largest part of the body of a refused request that is read and discarded, bytes."""


class Refused(Exception):
    """An error response: its HTTP status, and a sentence for the client."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class LoopbackServer(ThreadingHTTPServer):
    """Server on 127.0.0.1; port 0 takes a free one. Every request must contain `token`.

    Raises:
        UserError: a port that is taken or that does not exist.
    """

    daemon_threads = True

    def __init__(self, handler: type[LoopbackHandler], port: int = 0) -> None:
        try:
            super().__init__(("127.0.0.1", port), handler)
        except (OSError, OverflowError) as error:
            raise _unusable(port, error) from None
        self.token = secrets.token_urlsafe(24)
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}

    @property
    def address(self) -> str:
        """Its address, without the token."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of clients that disconnected; print any other error."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class LoopbackHandler(BaseHTTPRequestHandler):
    """Handles one request. A subclass has `do_GET` and `do_POST`, which call `serve`."""

    server: LoopbackServer
    protocol_version = "HTTP/1.1"
    timeout = 60
    longest_body = 10_000
    """Bytes."""
    wrong_token = "The token is missing or wrong; use the printed one."

    def log_message(self, *_: object) -> None:
        """Log nothing: an address may contain the token."""

    def serve(self, act: Callable[[], None]) -> None:
        """Call `act` to answer the request, or send its `Refused` error."""
        try:
            # A page elsewhere that resolves its own name to this machine is not let in.
            if self.headers.get("Host") not in self.server.hosts:
                raise Refused(HTTPStatus.FORBIDDEN, "This server answers to 127.0.0.1 alone.")
            act()
        except Refused as refused:
            self.close_connection = True  # its body may not have been read
            self.send_json({"error": self.describe(refused)}, refused.status)
            self._discard_unread()

    def describe(self, refused: Refused) -> object:
        """The value of `error` in the body of an error response."""
        return str(refused)

    def check_token(self, given: str) -> None:
        """Raise `Refused` for a wrong token."""
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, self.wrong_token)

    def read_body(self) -> dict[str, Any]:
        """The JSON object in the body. Raises `Refused` without one, or where it is too long."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > self.longest_body:
            raise Refused(HTTPStatus.BAD_REQUEST, "The request has no body, or one that is too long.")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "The body is not a JSON object.")
        return body

    def _discard_unread(self) -> None:
        """Discard what still arrives: closing on unread bytes resets the connection, answer included."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_SECONDS)
        discarded = 0
        with suppress(OSError):
            while discarded < LONGEST_DISCARDED and (block := self.connection.recv(65_536)):
                discarded += len(block)

    def send_json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send a JSON value."""
        self.send_text(status, "application/json", json.dumps(value))

    def send_text(self, status: HTTPStatus, kind: str, text: str) -> None:
        """Send text of the media type `kind`, with headers that forbid caching, framing and content
        sniffing."""
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


def check_port(port: int) -> None:
    """Raise a `UserError` for a port that cannot be used, before anything is loaded or written."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        raise _unusable(port, error) from None


def _unusable(port: int, error: Exception) -> UserError:
    return UserError(f"--port: {port} cannot be used ({error}); leave it out to take a free one.")
