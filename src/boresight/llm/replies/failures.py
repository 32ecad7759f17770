"""Classify why a request has no usable response: HTTP statuses, errors in a response of status 200, empty
accounts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Final
from urllib.parse import quote

from boresight.core.errors import UserError, terminal_safe

RETRIED = frozenset({"rate_limit", "timeout", "server", "invalid_json", "token_limit"})
"""Kinds of failures that are retried, since they may not occur in another attempt."""
LONGEST_DETAIL = 300
TITLE, TAG = re.compile(r"<title>([^<]+)</title>", re.IGNORECASE), re.compile(r"<[^<>]*>")
"""Patterns for the title and the tags of a web page, which proxies send in place of an error."""
REDACTED = "[key removed]"
SHORT_KEY = 12
"""Minimum length of a key that is removed from text everywhere. A shorter key may be a common word such as
`none`, and is removed only where it is a word of its own."""
OTHER_LIMIT_NAME: Final = "max_completion_tokens"
"""Name of the parameter for the maximum answer length in OpenAI's reasoning models."""

NO_MONEY_CODES = frozenset(
    {
        "insufficient_quota",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_funds",
        "billing_hard_limit_reached",
        "billing_not_active",
        "payment_required",
    }
)
NO_MONEY = re.compile(
    r"insufficient[ _](account )?(balance|credit|fund|quota)|credit balance is too low|out of credits|"
    r"payment required|billing hard limit",
    re.IGNORECASE,
)
"""Pattern of messages about an empty account. "exceeded your current quota" does not match: some servers use
it for a limit per minute."""
FLAGGED = re.compile(r"\bflagged\b|requires moderation|moderation (policy|service)", re.IGNORECASE)
"""Pattern of messages about a prompt that was refused for its content. OpenRouter sends them with status 403,
as for a wrong key."""

STATUS_OF_WORDS = (
    ("rate_limit", 429),
    ("overloaded", 503),
    ("auth", 401),
    ("api_key", 401),
    ("permission", 403),
    ("invalid_request", 400),
    ("context_length", 400),
    ("not_found", 404),
    ("unsupported", 400),
)
"""`(word, status)`: HTTP status for an error code that contains the word, in a response of status 200."""


class Stopped(UserError):
    """Raised if the run cannot continue; all replies received so far are in the ledger.

    The message contains the cause and what to change; the calling command adds how to continue (`continued`).
    `other_recipe` is True if the recipe must be changed.
    """

    def __init__(self, message: str, *, other_recipe: bool = False) -> None:
        super().__init__(message)
        self.other_recipe = other_recipe

    def continued(self, how: str) -> Stopped:
        """Return the same error with the way to continue added, such as `run the same command again`."""
        message = f"{str(self).rstrip('.')}; what has arrived is kept: {how}."
        return Stopped(message, other_recipe=self.other_recipe)


@contextmanager
def continuing(how: str) -> Iterator[None]:
    """Context manager that adds the way to continue to every `Stopped` raised in its block."""
    try:
        yield
    except Stopped as stopped:
        raise stopped.continued(how) from None


def one_line(text: str) -> str:
    r"""Return a server's text for the terminal: one line, printable, at most `LONGEST_DETAIL` characters.

    >>> one_line("bad \x1b[31m\n gateway")
    'bad \\x1b[31m gateway'
    """
    flat = terminal_safe(" ".join(text.split()))
    return flat if len(flat) <= LONGEST_DETAIL else f"{flat[:LONGEST_DETAIL]}…"


def redacted(text: str, key: str | None) -> str:
    """Return the text without the key, also in its JSON or URL encoding. Apply it before truncating the text.

    >>> redacted("Incorrect API key provided: sk-0123456789abcdef.", "sk-0123456789abcdef")
    'Incorrect API key provided: [key removed].'
    """
    if not key:
        return text
    for spelling in dict.fromkeys((key, json.dumps(key)[1:-1], quote(key), quote(key, safe=""))):
        short = len(key) < SHORT_KEY
        text = _without_word(text, spelling) if short else text.replace(spelling, REDACTED)
    return text


def _without_word(text: str, word: str) -> str:
    """Return the text with the word redacted wherever no letter or digit touches it."""
    first, *rest = text.split(word)
    kept = [first]
    for before, after in pairwise([first, *rest]):
        alone = not (before[-1:].isalnum() or after[:1].isalnum())
        kept += [REDACTED if alone else word, after]
    return "".join(kept)


class RequestFailure(Exception):
    """Raised if an attempt has no response.

    `kind` is `rate_limit`, `timeout`, `server`, `invalid_json` (a body that cannot be read), `auth`,
    `no_money` (the account is empty), `token_limit` (the endpoint requires the other name of the token
    limit), `bad_request` (a 4xx that a retry cannot fix), `invalid_text` (the request is not valid Unicode),
    `content_filter`, `budget` (never sent) or `missing` (not in the ledger, if only the ledger is read).
    `retry_after` is the pause that the server requests, in seconds. `perhaps_billed` is True if the server
    may have done the work although no response was read.
    """

    def __init__(
        self, kind: str, said: str, retry_after: float | None = None, perhaps_billed: bool = False
    ) -> None:
        super().__init__(kind)
        self.kind, self.said = kind, said
        self.retry_after, self.perhaps_billed = retry_after, perhaps_billed

    @property
    def detail(self) -> str:
        """The message as one printable line. It is truncated here, after keys were removed."""
        return one_line(self.said).rstrip(".")

    def without(self, key: str) -> RequestFailure:
        """Remove the key from the message, and return this failure."""
        self.said = redacted(self.said, key)
        return self


def unreadable(said: str) -> RequestFailure:
    """Create the failure of a body that cannot be read; the request may have been billed."""
    return RequestFailure("invalid_json", said, perhaps_billed=True)


def classify_status(status: int, headers: Mapping[str, str], error: object) -> RequestFailure:
    """Convert an HTTP error status into a typed failure.

    Args:
        error: the body, or the object `error` in it. Servers other than OpenAI's send a string, `detail`, or
            a list. The SDK's own message is not used: it depends on the SDK's version, and omits the cause
            for some of these forms.
    """
    if 300 <= status < 400:
        said = f"it redirects to {headers.get('location', 'nowhere')}, where no key is sent"
        return RequestFailure("bad_request", f"HTTP {status}: {said}; write the address to use as base URL")
    return _typed(status, headers, error, f"HTTP {status}: {_message_in(error)}")


def classify_error(error: object) -> RequestFailure:
    """Convert an error inside a response of status 200 into a typed failure, by its code."""
    status, message = _status_in(error), _message_in(error)
    failure = _typed(status, {}, error, f"error {status} in a response of status 200: {message}")
    failure.perhaps_billed = failure.kind == "server"
    return failure


def _typed(status: int, headers: Mapping[str, str], error: object, said: str) -> RequestFailure:
    codes = _codes_in(error)
    if status == 402 or codes & NO_MONEY_CODES or (status < 500 and NO_MONEY.search(said)):
        return RequestFailure("no_money", said)
    if "content_filter" in codes or (status == 403 and FLAGGED.search(said)):
        return RequestFailure("content_filter", said)
    if status in (401, 403):
        return RequestFailure("auth", said)
    if status == 429:
        return RequestFailure("rate_limit", said, retry_after(headers))
    if status in (408, 409) or status >= 500:
        return RequestFailure("server", said, retry_after(headers))
    if status == 400 and OTHER_LIMIT_NAME in said and re.search(r"\bmax_tokens\b", said):
        return RequestFailure(
            "token_limit", f"it takes {OTHER_LIMIT_NAME}, and gets that from now on; {said}"
        )
    return RequestFailure("bad_request", said)


def _codes_in(error: object) -> set[str]:
    """Return the code and the type of an error object, in lower case."""
    if not isinstance(error, Mapping):
        return set()
    return {str(error.get(name)).lower() for name in ("code", "type") if error.get(name)}


def _status_in(error: object) -> int:
    """Return the HTTP status of an error object by its codes, numeric or in words; 500 if there is none."""
    codes = _codes_in(error)
    for code in codes:
        if re.fullmatch(r"[45]\d\d", code):
            return int(code)
    found = (status for word, status in STATUS_OF_WORDS if any(word in code for code in codes))
    return next(found, 500)


def _message_in(error: object, levels: int = 4) -> str:
    """Return the message of an error, which may have OpenAI's form, or be a string, a web page, FastAPI's
    `detail` or Gemini's list."""
    if isinstance(error, str) and error.strip():
        return _page_text(error) if error.lstrip().startswith("<") else error
    inner = None
    if isinstance(error, Mapping):
        inner = next((error[name] for name in ("message", "error", "detail") if error.get(name)), None)
    elif isinstance(error, list) and len(error) == 1:
        inner = error[0]
    if inner is not None and levels:
        return _message_in(inner, levels - 1)
    try:
        return json.dumps(error, default=str) if error else "no message"
    except RecursionError:
        return "an error that is nested too deeply"


def _page_text(page: str) -> str:
    """Return the title of a web page, or its text if it has none."""
    title = TITLE.search(page)
    return title[1] if title else TAG.sub(" ", page)


def retry_after(
    headers: Mapping[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float | None:
    """Return the number of seconds that the server requests to wait; None if it requests none.

    It is read from the header `retry-after-ms`, or from `retry-after` as seconds or a date.
    """
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            return _wait(float(milliseconds) / 1000)
        if not value:
            return None
        return _wait(float(value))
    except ValueError:
        pass
    try:
        return _wait((parsedate_to_datetime(value or "") - now()).total_seconds())
    except (ValueError, TypeError):
        return None


LONGEST_WAIT = 3600.0
"""Maximum wait that a server can request, in seconds; infinity or NaN would block all requests."""


def _wait(seconds: float) -> float | None:
    return min(max(0.0, seconds), LONGEST_WAIT) if seconds == seconds else None
