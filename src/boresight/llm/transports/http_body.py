"""Read bodies of HTTP responses with a limit on their size, before and after decompression."""

from __future__ import annotations

import sys
import zlib
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

from boresight.llm.replies.failures import RequestFailure, unreadable

MOST_BYTES = 16 * 2**20
"""Maximum size of the body of a chat completion in bytes: a hundred times the longest answer of current
models."""
ACCEPTED = "gzip, deflate"
"""Content encodings that are accepted; a body with another one is refused."""
AUTOMATIC = zlib.MAX_WBITS | 32
"""Window size with which zlib detects whether a body is gzip or deflate."""
AT_ONCE = 2**20
"""Number of bytes decompressed at a time, since a kilobyte of gzip can expand to a megabyte."""


def bounded(most: int) -> Callable[[Any], Awaitable[None]]:
    """Return a response hook for the SDK's HTTP client (httpx or httpx2) that reads the body, or refuses it.

    Raises (the hook):
        RequestFailure: the body has more than `most` bytes, or a content encoding other than `ACCEPTED`.
    """

    async def read(response: Any) -> None:
        stream = response.stream
        try:
            body = await read_body_of(stream, response.headers.get("content-encoding", ""), most)
        finally:
            await stream.aclose()
        # From here on the body is in memory and not compressed.
        library = sys.modules[type(response).__module__.partition(".")[0]]
        response.headers.pop("content-encoding", None)
        response.stream = library.ByteStream(body)

    return read


async def read_body_of(stream: AsyncIterable[bytes], encoding: str, most: int) -> bytes:
    """Read and return the decompressed body.

    Raises:
        RequestFailure: as the hook of `bounded`.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        unpacker = None
    elif encoding in ("gzip", "x-gzip", "deflate"):
        unpacker = zlib.decompressobj(AUTOMATIC)
    else:
        raise unreadable(f"the body is compressed as {encoding[:40]!r}, which was not asked for")
    body = bytearray()
    async for chunk in stream:
        if unpacker is None:
            body += chunk
        else:
            _unpack(unpacker, chunk, body, most)
        if len(body) > most:
            raise too_large(most)
    return bytes(body)


def _unpack(unpacker: Any, chunk: bytes, body: bytearray, most: int) -> None:
    try:
        while chunk and len(body) <= most:
            body += unpacker.decompress(chunk, AT_ONCE)
            chunk = unpacker.unconsumed_tail
    except zlib.error as error:
        raise unreadable(f"the body cannot be decompressed ({error})") from None


def too_large(most: int) -> RequestFailure:
    """Create the failure of a body of more than `most` bytes."""
    return unreadable(f"the body has more than {most / 2**20:,.0f} MB")
