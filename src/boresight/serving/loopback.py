"""An HTTP server for this machine alone: bound to loopback, with a token in every request and limited
bodies."""

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
"""Maximum number of bytes that are read and discarded after a request was refused."""


class Refused(Exception):
    """An error response: its HTTP status, and a sentence for the client."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class LoopbackServer(ThreadingHTTPServer):
    """HTTP server on 127.0.0.1. Every request must contain `token`.

    Args:
        port: port number; 0 for any free port.

    Raises:
        UserError: the port is in use or does not exist.
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
        """URL of the server, without the token."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of clients that disconnected; print any other error."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class LoopbackHandler(BaseHTTPRequestHandler):
    """Handles the requests of one connection. Subclasses define `do_GET` and `do_POST`, which call
    `serve`."""

    server: LoopbackServer
    protocol_version = "HTTP/1.1"
    timeout = 60
    longest_body = 10_000
    """Maximum size of a request body, in bytes."""
    wrong_token = "The token is missing or wrong; use the printed one."

    def log_message(self, *_: object) -> None:
        """Log nothing: a URL may contain the token."""

    def serve(self, act: Callable[[], None]) -> None:
        """Call `act`, which sends the response; if it raises `Refused`, send that error."""
        try:
            # Refuse web pages whose host name resolves to this machine (DNS rebinding).
            if self.headers.get("Host") not in self.server.hosts:
                raise Refused(HTTPStatus.FORBIDDEN, "This server answers to 127.0.0.1 alone.")
            act()
        except Refused as refused:
            self.close_connection = True  # its body may not have been read
            self.send_json({"error": self.describe(refused)}, refused.status)
            self._discard_unread()

    def describe(self, refused: Refused) -> object:
        """Return the value of `error` in the body of an error response."""
        return str(refused)

    def check_token(self, given: str) -> None:
        """Raise `Refused` for a wrong token."""
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, self.wrong_token)

    def read_body(self) -> dict[str, Any]:
        """Return the JSON object in the request body.

        Raises:
            Refused: there is no body, it is too long, or it is not a JSON object.
        """
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
        """Discard the rest of a request.

        Closing a connection with unread bytes resets it, and the client may lose the response.
        """
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_SECONDS)
        discarded = 0
        with suppress(OSError):
            while discarded < LONGEST_DISCARDED and (block := self.connection.recv(65_536)):
                discarded += len(block)

    def send_json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send a value as JSON."""
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
    """Raise a `UserError` if the port cannot be used. Call it before anything is loaded or written."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        raise _unusable(port, error) from None


def _unusable(port: int, error: Exception) -> UserError:
    return UserError(f"--port: {port} cannot be used ({error}); leave it out to take a free one.")
