"""Stage 2, answers: request n answers of every source to every prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from boresight.core.schema import Message, Prompt
from boresight.llm.ledger import Ledger
from boresight.llm.replies.reply import Reply
from boresight.llm.replies.samples import IdenticalSamples
from boresight.llm.request import Request
from boresight.llm.session import Session
from boresight.synthesis.recipe import AnswersSection, Side, SynthesisRecipe

STAGE = "answers"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `source` is the name of its source in the recipe, `key` identifies its ledger entry."""

    source: str
    model: str
    key: str
    reply: Reply
    side: Side | None = None

    @property
    def text(self) -> str:
        return self.reply.text.strip()

    @property
    def words(self) -> int:
        """Number of words separated by white space, the unit of all length statistics in this package."""
        return len(self.reply.text.split())


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and all answers to it, including failed ones."""

    prompt: Prompt
    answers: tuple[Answer, ...]


def make_answers(session: Session, recipe: SynthesisRecipe, prompts: Sequence[Prompt]) -> None:
    """Request every answer; answers and failures are stored in the ledger."""
    total = len(prompts) * sum(section.n for section in recipe.answers.values())
    session.each(STAGE, _requests(recipe, prompts), session.client.ask_usable, total)


class Answers:
    """Iterable over all prompts with their answers, in the order of the prompts.

    Each iteration reads the answers from the ledger, so that they are not all held in memory.
    """

    def __init__(self, ledger: Ledger, recipe: SynthesisRecipe, prompts: Sequence[Prompt]) -> None:
        self._ledger, self._recipe, self._prompts = ledger, recipe, prompts

    def __len__(self) -> int:
        return len(self._prompts)

    def __iter__(self) -> Iterator[Answered]:
        return map(self._to, self._prompts)

    def _to(self, prompt: Prompt) -> Answered:
        answers = [
            Answer(name, request.model, request.key, self._ledger.reply(request), section.side)
            for name, section in self._recipe.answers.items()
            for request in requests_to(self._recipe, section, prompt)
        ]
        return Answered(prompt, tuple(answers))


def identical_samples(recipe: SynthesisRecipe, answered: Iterable[Answered]) -> list[str]:
    """Return a warning for every source whose answers to one prompt are identical."""
    alike = {name: IdenticalSamples() for name in recipe.answers}
    for row in answered:
        for name, counts in alike.items():
            counts.add([a.reply.text for a in row.answers if a.source == name and not a.reply.failure])
    found = (counts.sentence(name, recipe.answers[name].temperature) for name, counts in alike.items())
    return [sentence for sentence in found if sentence]


def requests_to(recipe: SynthesisRecipe, section: AnswersSection, prompt: Prompt) -> list[Request]:
    """Return the requests of one source for one prompt, one per sample."""
    endpoint = recipe.endpoints[section.by]
    messages = list(prompt.prompt)
    if section.system:
        messages.insert(0, Message(role="system", content=section.system))
    return [
        Request(endpoint.url, endpoint.model, messages, section.params(), sample=i, stage=STAGE)
        for i in range(section.n)
    ]


def _requests(recipe: SynthesisRecipe, prompts: Sequence[Prompt]) -> Iterator[Request]:
    for prompt in prompts:
        for section in recipe.answers.values():
            yield from requests_to(recipe, section, prompt)
