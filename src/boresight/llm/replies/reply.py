"""Parse a response of a chat endpoint: its text, the reason why it cannot be used, and its usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boresight.llm.replies.failures import RequestFailure, classify_error, one_line, unreadable

MOST_TOKENS = 10**9
"""Maximum plausible number of tokens."""
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
TEXT_PARTS, REASONING_PARTS = ("text", "output_text"), ("thinking", "reasoning")
"""Types of the parts of a message: those of its answer, and those of the reasoning before it."""

TRUNCATED = frozenset({"length", "max_tokens", "max_output_tokens", "max_length", "model_length"})
FILTERED = frozenset(
    {"content_filter", "safety", "sensitive", "recitation", "blocklist", "prohibited_content", "spii"}
)
INTERRUPTED = frozenset(
    {"error", "abort", "aborted", "cancelled", "canceled", "timeout", "network_error",
     "insufficient_system_resource"}
)  # fmt: skip
"""Values of `finish_reason` of interrupted answers, in lower case.

`TRUNCATED`, `FILTERED` and `INTERRUPTED` contain those of other servers than OpenAI's as well: Mistral has
`model_length`, Gemini `SAFETY` and others, GLM `sensitive` and `network_error`, DeepSeek
`insufficient_system_resource`, OpenRouter `error`, vLLM `abort`. The text of such a response is not the
complete answer.
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens that a server reports; `cached` is the part of the prompt found in the server's
    cache."""

    prompt: int
    completion: int
    cached: int = 0

    @property
    def total(self) -> int:
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed response. The ledger stores the server's body, so that a later version can parse it anew.

    `text` is the model's answer, even if it cannot be used. `failure` is then the reason: `refusal`,
    `content_filter`, `truncated`, `empty` (there is no content) or `invalid_text` (it is not valid Unicode).
    `usage` is None if the server does not report both numbers of tokens; `reported` quotes what it reported.
    """

    text: str
    failure: str | None = None
    detail: str = ""
    usage: Usage | None = None
    reported: str = ""

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Reply:
        """Parse and classify a chat completion.

        Raises:
            RequestFailure: the body is an error, is not a chat completion (`invalid_json`), or the server
                interrupted the answer (`server`).
        """
        choice, message = _choice(body)
        finish = str(choice.get("finish_reason")).lower()
        if finish in INTERRUPTED:
            said = f"the server broke the answer off (finish_reason {finish})"
            raise RequestFailure("server", said, perhaps_billed=True)
        text = _text(message.get("content"))
        failure, detail = _verdict(text, finish, message)
        raw = body.get("usage")
        return cls(text or "", failure, detail, _usage(raw), one_line(str(raw))[:80] if raw else "")


def failed(kind: str, detail: str) -> Reply:
    """Create the reply of a request that has no response."""
    return Reply("", kind, detail)


def read_body(body: Mapping[str, Any]) -> Reply:
    """Parse a stored body; if it cannot be parsed, return a reply with a failure instead of raising."""
    try:
        return Reply.read(body)
    except RequestFailure as failure:
        return failed(failure.kind, failure.detail)


def _choice(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the first choice of a response and its message."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = body.get("error") or (choice.get("error") if isinstance(choice, Mapping) else None)
    if error:
        raise classify_error(error)
    if choice is None and body.get("object") == "error":  # as vLLM writes it
        raise classify_error(body)
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise unreadable(f"not a chat completion: {str(dict(body))[:500]}")
    return choice, message


def _text(content: object) -> str | None:
    """Return the content of a message, which some servers send in parts.

    None if there is no content, or if all parts are reasoning.
    """
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        texts = [part.get("text") for part in content if part.get("type") in TEXT_PARTS]
        if texts and all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
        if content and all(part.get("type") in REASONING_PARTS for part in content):
            return None
    raise unreadable(f"the content of the message is no text: {str(content)[:500]}")


def _verdict(text: str | None, finish: str, message: Mapping[str, Any]) -> tuple[str | None, str]:
    if message.get("refusal"):
        return "refusal", one_line(str(message["refusal"]))
    if finish in FILTERED:
        return "content_filter", "the server's filter withheld the answer"
    if finish in TRUNCATED:
        return "truncated", "the answer reached max_tokens"
    # If the content has parts but no text, they are reasoning.
    thought = any(message.get(name) for name in (*REASONING_FIELDS, "content")) and not (text or "").strip()
    if text is None or (not text.strip() and thought):
        return "empty", _why_empty(message, thought)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return "invalid_text", f"half a surrogate pair at character {error.start}: {one_line(text)[:80]}"
    return None, ""


def _why_empty(message: Mapping[str, Any], thought: bool) -> str:
    if message.get("tool_calls"):
        return "the message calls a tool and has no content"
    return "the message has no content" + (", all of it was reasoning" if thought else "")


def _usage(raw: object) -> Usage | None:
    if not isinstance(raw, Mapping):
        return None
    prompt, completion = _tokens(raw.get("prompt_tokens")), _tokens(raw.get("completion_tokens"))
    total = _tokens(raw.get("total_tokens"))
    if raw.get("completion_tokens") is None and prompt is not None and total is not None and total >= prompt:
        completion = total - prompt
    if prompt is None or completion is None:
        return None
    details = raw.get("prompt_tokens_details")
    cached = _tokens(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    return Usage(prompt, completion, min(cached or 0, prompt))


def _tokens(value: object) -> int | None:
    """Return a number of tokens.

    None if the value is not a valid one: negative, fractional, infinite, above `MOST_TOKENS`, or not a
    number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        return None
    return int(value) if value == int(value) else None
