"""Determine the tokens of a response: its reported usage if that is plausible, else a safe estimate.

A server may report no usage, or any number. Fewer tokens than the texts require would let a run exceed its
budget; absurdly many would end it. Both are replaced by the worst case that was reserved, and counted.
"""

from __future__ import annotations

from boresight.llm.replies.reply import Reply, Usage
from boresight.llm.request import Request

MOST_CHARACTERS = 8
"""Maximum number of characters per token; no language has a larger average (English has about 4.5)."""
UNSEEN = 100_000
"""Maximum number of tokens that a server may report beyond the visible ones: its own system prompt and hidden
reasoning."""


def counted(request: Request, reply: Reply) -> tuple[Usage, str]:
    """Return the usage to count, and why the reported usage is implausible ('' if it is plausible)."""
    seen = len(reply.text.encode("utf-8", "surrogatepass"))
    honors_limit = least_tokens(reply.text) <= request.max_tokens
    # No token is shorter than a byte, which bounds an answer that ignores max_tokens.
    safe = Usage(request.prompt_tokens, request.max_tokens if honors_limit else seen)
    usage = reply.usage
    if usage is None:
        return safe, f"no usage that counts tokens ({reply.reported or 'none at all'})"
    least_prompt = sum(least_tokens(message["content"]) for message in request.messages)
    if usage.prompt < least_prompt or usage.completion < least_tokens(reply.text):
        return safe, f"fewer tokens than the texts take ({reply.reported})"
    if usage.prompt > request.prompt_bytes + UNSEEN or usage.completion > max(safe.completion, seen) + UNSEEN:
        return safe, f"an impossible number of tokens ({reply.reported})"
    return usage, ""


def least_tokens(text: str) -> int:
    """Return the minimum number of tokens of a text.

    A run of white space may be one token, so it counts as one character.

    >>> least_tokens("")
    0
    >>> least_tokens("word " * 8)
    5
    """
    return -(-len(" ".join(text.split())) // MOST_CHARACTERS)
