"""Stage 1, prompts: read prompts from a file, or generate them in the style of seeds, and filter them.

Prompts are filtered before any answer to them is requested.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from boresight.core.schema import Message, Prompt
from boresight.data.reading.split import prompts_in
from boresight.evaluation.shingles import jaccard, shingles, word_list
from boresight.llm.ledger import Ledger
from boresight.llm.request import Request
from boresight.llm.session import Session
from boresight.llm.structured import ask_for, recalled
from boresight.synthesis.filters import Sieve
from boresight.synthesis.near_duplicates import HeldOut, NearDuplicates, copies, fingerprint, text_of
from boresight.synthesis.recipe import NewPrompts, PromptsSection, SynthesisRecipe

STAGE = "prompts"
DEMO = "demo"
ROUNDS = 8
"""Maximum number of rounds of requests for more prompts."""

ASK = """\
Below are tasks that people have given to an assistant. Write {count} new ones of the same kind and
variety{topic}. Each must be self-contained, different from these and from one another, and something that an
assistant can answer in text. Do not answer them.

{shots}
"""


FORM = """
Answer with nothing but one JSON object of the form {{"prompts": ["…", "…"]}}, whose list has the {count} new
tasks as texts.
"""
"""Text appended to `ASK` for endpoints that do not enforce a JSON schema. It is separate from `ASK` so that
requests to other endpoints keep their keys in the ledger."""


class PromptList(BaseModel):
    """What a request for new prompts must bring."""  # part of the JSON schema in the requests' ledger keys

    model_config = ConfigDict(extra="forbid")

    prompts: list[str] = Field(min_length=1)


def read_prompt_source(section: PromptsSection, seed: int) -> list[Prompt]:
    """Read the prompts of `source`, or `limit` of them drawn at random, in the order of the source."""
    if section.source == DEMO:
        from boresight.data.demo.prompts import prompts
        from boresight.data.demo.topics import DEMO_TRAIN_TOPICS

        found = prompts(DEMO_TRAIN_TOPICS)
    else:
        found = prompts_in(section.source)
    if section.limit is None or section.limit >= len(found):
        return found
    kept = sorted(random.Random(seed).sample(range(len(found)), section.limit))
    return [found[i] for i in kept]


def make_prompts(
    session: Session, recipe: SynthesisRecipe, found: list[Prompt], sieve: Sieve
) -> list[Prompt]:
    """Return the filtered prompts of stage 1: `found`, the prompts of the source, or new ones like them."""
    if recipe.prompts.new is not None:

        async def ask(request: Request) -> None:
            async with session.client.probe(request):
                found = await ask_for(session.client, request, PromptList)
                usable = session.client.usable
                usable.note(STAGE, request.model, found.failure, found.detail, found.text, found.rounds)

        def buy(requests: Sequence[Request]) -> bool:
            if session.client.over_budget:
                return False
            session.each(STAGE, requests, ask, len(requests))
            return True

        found = new_prompts(session.ledger, recipe, recipe.prompts.new, found, sieve, buy)
    return filter_prompts(found, recipe.prompts, sieve)


def filter_prompts(found: Sequence[Prompt], section: PromptsSection, sieve: Sieve) -> list[Prompt]:
    """Drop copies, near-duplicates and overlaps with held-out data."""
    texts = [text_of(prompt.prompt) for prompt in found]
    held = HeldOut(_held_out_texts(section.held_out), section.overlap_words)
    near = NearDuplicates(section.near_duplicates) if section.near_duplicates else None
    kept = []
    for prompt, text, copy in zip(found, texts, copies(texts), strict=True):
        if copy:
            sieve.drop("prompts that are copies", text)
        elif run := held.overlap(text):
            sieve.drop("prompts that overlap with held-out data", f"{text} [{run}]")
        elif near and (earlier := near.seen(text)):
            sieve.drop("prompts that are near-duplicates", f"{text} [{earlier}]")
        else:
            kept.append(prompt)
    return kept


def _held_out_texts(files: Sequence[str]) -> Iterator[str]:
    for file in files:
        yield from (text_of(prompt.prompt) for prompt in prompts_in(file))


def new_prompts(
    ledger: Ledger,
    recipe: SynthesisRecipe,
    new: NewPrompts,
    seeds: Sequence[Prompt],
    sieve: Sieve,
    have: Callable[[Sequence[Request]], bool],
) -> list[Prompt]:
    """Generate prompts in rounds until there are `new.count`, or for at most `ROUNDS` rounds.

    Which prompts are accepted depends only on the replies.

    Args:
        have: called with the requests of a round; adds their replies to the ledger, or returns False to stop.
    """
    variety = Variety([text_of(seed.prompt) for seed in seeds], new.max_overlap)
    accepted: list[Prompt] = []
    asked = 0
    for _ in range(ROUNDS):
        if len(accepted) >= new.count:
            break
        more = math.ceil((new.count - len(accepted)) / new.per_request)
        requests = [request_for(recipe, new, seeds, i) for i in range(asked, asked + more)]
        asked += more
        if not have(requests):
            break
        for request in requests:
            reply = recalled(ask_for(ledger, request, PromptList))
            if reply.value is None:
                sieve.drop(f"requests for prompts that failed ({reply.failure})", reply.detail)
                continue
            for text in filter(None, map(str.strip, reply.value.prompts)):
                if earlier := variety.too_near(text):
                    sieve.drop("new prompts too similar to others", f"{text} [{earlier}]")
                else:
                    accepted.append(_prompt(text, new.by))
    return accepted[: new.count]


class Variety:
    """Rejects a text that is too similar to an earlier one: the Jaccard similarity of word pairs exceeds
    `most`."""

    def __init__(self, texts: Sequence[str], most: float) -> None:
        self.most = most
        self._texts: list[tuple[str, set[str]]] = []
        self._with: dict[str, list[int]] = {}
        for text in texts:
            self._add(text, shingles(word_list(text), 2))

    def too_near(self, text: str) -> str | None:
        """Return an earlier text that is too similar; if there is none, add `text` and return None."""
        pairs = shingles(word_list(text), 2)
        for i in sorted({i for pair in pairs for i in self._with.get(pair, ())}):
            earlier, its = self._texts[i]
            if jaccard(pairs, its) > self.most:
                return earlier
        self._add(text, pairs)
        return None

    def _add(self, text: str, pairs: set[str]) -> None:
        for pair in pairs:
            self._with.setdefault(pair, []).append(len(self._texts))
        self._texts.append((text, pairs))


def request_for(recipe: SynthesisRecipe, new: NewPrompts, seeds: Sequence[Prompt], number: int) -> Request:
    """Return request `number` for new prompts; examples and topic depend only on `number` and the seed."""
    draw = random.Random(f"{recipe.seed}:{number}")
    shown = draw.sample(list(seeds), min(new.shots, len(seeds)))
    shots = "\n\n".join(f"Task {i}:\n{text_of(s.prompt)}" for i, s in enumerate(shown, 1))
    topic = f", about {new.topics[number % len(new.topics)]}" if new.topics else ""
    endpoint = recipe.endpoints[new.by]
    form = "" if endpoint.enforces_schemas else FORM
    text = (ASK + form).format(count=new.per_request, topic=topic, shots=shots)
    message = Message(role="user", content=text)
    return Request(endpoint.url, endpoint.model, [message], new.params(), sample=number, stage=STAGE)


def _prompt(text: str, by: str) -> Prompt:
    return Prompt([Message(role="user", content=text)], fingerprint(text)[:16], {"prompt_by": by})
