"""Request the answers of a system from an OpenAI-compatible chat endpoint, and store them in a ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight.core.console import print_warning
from boresight.core.schema import Prompt
from boresight.evaluation.response import Response
from boresight.llm.budget import BudgetSection
from boresight.llm.endpoint import EndpointSection
from boresight.llm.replies.failures import Stopped, one_line
from boresight.llm.replies.reply import Reply
from boresight.llm.request import Request
from boresight.llm.session import Session

if TYPE_CHECKING:
    from rich.console import Console

    from boresight.evaluation.recipe import GenerateSection

STAGE = "answers"
PASSING = frozenset({"server", "timeout", "rate_limit", "missing"})
"""Kinds of failures that another attempt may not have; the evaluation stops if any remain."""


def endpoint_responses(
    name: str,
    section: EndpointSection,
    prompts: Sequence[Prompt],
    settings: GenerateSection,
    k: int,
    ledger: Path,
    ceilings: BudgetSection,
    console: Console,
) -> list[list[Response]]:
    """Request `k` answers to every prompt, and return them as `result[prompt][sample]`.

    An answer is missing if the endpoint refused the request or sent no text. The numbers of truncated and of
    missing answers are printed, with the reason for one of the missing answers.

    Raises:
        Stopped: the budget is spent, or requests failed in a way that another attempt may not (`PASSING`).
            Answers received so far are in the ledger.
    """
    params = _params(settings)
    requests = [
        Request(section.url, section.model, list(p.prompt), params, sample=i, stage=STAGE)
        for p in prompts
        for i in range(k)
    ]
    with Session(ledger, [section], ceilings, console=console) as session:

        async def ask(request: Request) -> None:
            async with session.client.probe(request):
                reply = await session.client.ask(request)
                failure = None if _text(reply) is not None else reply.failure
                session.client.usable.note(STAGE, request.model, failure, reply.detail)

        session.each(f"{STAGE} of {name}", requests, ask, len(requests))
        replies = [session.ledger.reply(request) for request in requests]
        over = session.client.over_budget
    _refuse_incomplete(name, replies, over)
    _print_missing(name, replies, settings, console)
    found = [_response(reply, settings) for reply in replies]
    return [found[i : i + k] for i in range(0, len(found), k)]


def _params(settings: GenerateSection) -> dict[str, Any]:
    """Return the sampling parameters under their OpenAI names.

    `top_p`, `top_k` and `seed` are omitted at their defaults, since not every server accepts them.
    """
    params: dict[str, Any] = {"max_tokens": settings.max_new_tokens, "temperature": settings.temperature}
    given = {"top_p": settings.top_p, "top_k": settings.top_k, "seed": settings.seed}
    usual = {"top_p": 1.0, "top_k": 0, "seed": 0}
    return params | {key: value for key, value in given.items() if value != usual[key]}


def _response(reply: Reply, settings: GenerateSection) -> Response:
    is_cut = reply.failure == "truncated"
    return Response(_text(reply), is_cut, settings.max_new_tokens if is_cut else None)


def _text(reply: Reply) -> str | None:
    """Return the text of a reply; None if it failed.

    A reply that reached the token limit counts as an answer, as it does for local models, unless it is empty.
    """
    cut = reply.failure == "truncated" and reply.text.strip()
    return reply.text if reply.failure is None or cut else None


def _refuse_incomplete(name: str, replies: Sequence[Reply], over: str | None) -> None:
    lacking = [reply for reply in replies if reply.failure in PASSING or reply.failure == "budget"]
    if over or lacking:
        why = f"{over} is reached" if over else f"{lacking[0].failure}: {lacking[0].detail}"
        fix = f"raise {over.partition(' = ')[0]}" if over else "check the endpoint"
        raise Stopped(
            f"systems.{name}: {len(lacking):,} of {len(replies):,} answers were not received ({why}); {fix}."
        )


def _print_missing(name: str, replies: Sequence[Reply], settings: GenerateSection, console: Console) -> None:
    cut = sum(reply.failure == "truncated" for reply in replies)
    if cut:
        said = f"{name}: {cut:,} of {len(replies):,} answers reached {settings.max_new_tokens:,} tokens "
        print_warning(console, f"{said}and are cut.")
    without = [reply for reply in replies if _text(reply) is None]
    if without:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in Counter(str(r.failure) for r in without).items())
        said = f"{name}: {len(without):,} of {len(replies):,} answers are missing ({kinds}), for instance: "
        print_warning(console, said + one_line(without[0].detail))
