"""Cost of a response: its reported usage if plausible, else a safe estimate.

A server may report no usage, or any number. Fewer tokens than the texts certainly take would let a run exceed
its budget; absurdly many would end it. Both are replaced by the worst case that was reserved, and counted.
"""

from __future__ import annotations

from boresight.llm.replies.reply import Reply, Usage
from boresight.llm.request import Request

MOST_CHARACTERS = 8
"""Characters per token; the average of every language is lower: English has about 4.5."""
UNSEEN = 100_000
"""Tokens that a server may report beyond the visible ones: its own system prompt, hidden reasoning."""


def counted(request: Request, reply: Reply) -> tuple[Usage, str]:
    """Usage of a response for the budget, and what was implausible in the reported usage, '' if nothing."""
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
    """Tokens that a text certainly takes; runs of white space, which may be one token, count once.

    >>> least_tokens("")
    0
    >>> least_tokens("word " * 8)
    5
    """
    return -(-len(" ".join(text.split())) // MOST_CHARACTERS)
