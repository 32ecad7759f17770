"""Estimate for `--dry-run` the requests of a run, those already in the ledger, and the cost of the others.

Nothing is sent. The length of answers that do not exist yet is unknown: the lower estimate uses the mean
length of the same stage and model in the ledger, or an eighth of `max_tokens`; the upper estimate uses
`max_tokens`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from boresight.core.schema import Prompt
from boresight.core.wording import format_duration, percent, plural
from boresight.llm.budget import Price, find_price
from boresight.llm.endpoint import EndpointSection
from boresight.llm.ledger import Ledger
from boresight.llm.replies.reply import Usage
from boresight.llm.request import BYTES_PER_TOKEN, Request
from boresight.llm.structured import first_round
from boresight.scorers.judges.endpoint import EndpointConfig
from boresight.scorers.judges.reward_endpoint import LONGEST_REPLY
from boresight.synthesis import answers as answering
from boresight.synthesis import judge as judging
from boresight.synthesis import prompts as prompting
from boresight.synthesis.filters import Sieve
from boresight.synthesis.judge_config import RubricConfig, endpoint_of
from boresight.synthesis.recipe import NewPrompts, SynthesisRecipe

UNSEEN = 1 / 8
"""Assumed length of an answer in the lower estimate, as a share of `max_tokens`, if the ledger has none."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests of one stage to one endpoint.

    `cached` is the number of requests with a response in the ledger. Tokens and dollars are `(low, high)` for
    the requests still to be sent.
    """

    stage: str
    endpoint: EndpointSection
    requests: int
    cached: int
    tokens: tuple[int, int]
    usd: tuple[float, float] | None
    """None if the price is unknown."""

    @property
    def minutes(self) -> float | None:
        """Minimum duration under the endpoint's rate limits; None if it has none, or uses batches."""
        if self.endpoint.batch:
            return None
        limits, left = self.endpoint.limits, self.requests - self.cached
        bounds = [left / limits.rpm] if limits.rpm else []
        bounds += (
            [self.tokens[1 if limits.tpm_counts == "requested" else 0] / limits.tpm] if limits.tpm else []
        )
        return max(bounds, default=None)


@dataclass(frozen=True, slots=True)
class Planned:
    """A planned request, or one that represents requests whose text does not exist yet."""

    stage: str
    endpoint: EndpointSection
    prompt_tokens: int
    max_tokens: int
    key: str | None = None


def estimate(recipe: SynthesisRecipe, folder: Path, sieve: Sieve | None = None) -> list[Estimate]:
    """Return one estimate for every stage and endpoint of the recipe, in order of the stages.

    Raises:
        UserError: the prompts cannot be read, or another process works in the folder.
    """
    path = folder / "ledger.sqlite"
    with Ledger(path) if path.exists() else nullcontext() as ledger:
        return _sum(list(_plan(recipe, sieve or Sieve(), ledger)), ledger)


def _plan(recipe: SynthesisRecipe, sieve: Sieve, ledger: Ledger | None) -> Iterator[Planned]:
    found = prompting.read_prompt_source(recipe.prompts, recipe.seed)
    unwritten = 0
    if new := recipe.prompts.new:
        seeds = found
        asked, found = _written(recipe, new, seeds, sieve, ledger)
        unwritten = new.count - len(found)
        asked += [prompting.request_for(recipe, new, seeds, 0)] * (
            math.ceil(new.count / new.per_request) - len(asked)
        )
        yield from (_known(request, recipe.endpoints[new.by]) for request in asked)
        size = sum(len(prompting.text_of(p.prompt).encode("utf-8", "surrogatepass")) for p in seeds) / max(
            len(seeds), 1
        )
    for prompt in prompting.filter_prompts(found, recipe.prompts, sieve):
        yield from _about(recipe, prompt, ledger)
    for _ in range(unwritten):
        yield from _later(recipe, int(size / BYTES_PER_TOKEN))


def _written(
    recipe: SynthesisRecipe, new: NewPrompts, seeds: list[Prompt], sieve: Sieve, ledger: Ledger | None
) -> tuple[list[Request], list[Prompt]]:
    """Return the requests for new prompts, and the new prompts that the ledger already contains."""
    asked: list[Request] = []
    if ledger is None:
        return asked, []

    def there(requests: Sequence[Request]) -> bool:
        rounds = [first_round(request, prompting.PromptList) for request in requests]
        asked.extend(rounds)
        return all(request.key in ledger for request in rounds)

    return asked, prompting.new_prompts(ledger, recipe, new, seeds, sieve, there)


def _about(recipe: SynthesisRecipe, prompt: Prompt, ledger: Ledger | None) -> Iterator[Planned]:
    """Yield the requests for answers to a prompt, and the judge's requests about these answers."""
    requests = [
        (request, section.by)
        for section in recipe.answers.values()
        for request in answering.requests_to(recipe, section, prompt)
    ]
    yield from (_known(request, recipe.endpoints[by]) for request, by in requests)
    if ledger and all(request.key in ledger for request, _ in requests):
        [answered] = answering.Answers(ledger, recipe, [prompt])
        if (judge := _judge(recipe)) is not None:
            yield from (_known(r, judge) for r in judging.requests_about(recipe, answered))
    else:
        yield from _judging(recipe, _tokens(prompt))


def _later(recipe: SynthesisRecipe, prompt_tokens: int) -> Iterator[Planned]:
    """Yield the requests for answers to one prompt that does not exist yet, and those of the judge."""
    for section in recipe.answers.values():
        for _ in range(section.n):
            endpoint = recipe.endpoints[section.by]
            yield Planned(answering.STAGE, endpoint, prompt_tokens, section.max_tokens)
    yield from _judging(recipe, prompt_tokens)


def _judging(recipe: SynthesisRecipe, prompt_tokens: int) -> Iterator[Planned]:
    """Yield the judge's requests about the answers to one prompt, for answers that do not exist yet."""
    judge = _judge(recipe)
    if judge is None:
        return
    if isinstance(recipe.judge, RubricConfig):  # all answers at once, in every order
        longest = sum(section.n * section.max_tokens for section in recipe.answers.values())
        instructions = int(len(judging.INSTRUCTIONS) / BYTES_PER_TOKEN)
        shown = prompt_tokens + instructions + longest
        for _ in range(recipe.judge.orders):
            yield Planned(judging.STAGE, judge, shown, recipe.judge.max_tokens)
        return
    for section in recipe.answers.values():
        for _ in range(section.n):
            yield Planned(judging.STAGE, judge, prompt_tokens + section.max_tokens, LONGEST_REPLY)


def _judge(recipe: SynthesisRecipe) -> EndpointSection | None:
    """Return the endpoint of the judge; None for judges without an endpoint."""
    if isinstance(recipe.judge, RubricConfig):
        return recipe.endpoints[recipe.judge.by]
    return endpoint_of(recipe.judge) if isinstance(recipe.judge, EndpointConfig) else None


def _known(request: Request, endpoint: EndpointSection) -> Planned:
    return Planned(request.stage, endpoint, request.prompt_tokens, request.max_tokens, request.key)


def _tokens(prompt: Prompt) -> int:
    return int(len(prompting.text_of(prompt.prompt).encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


def _sum(planned: list[Planned], ledger: Ledger | None) -> list[Estimate]:
    by_stage: dict[tuple[str, str, str], list[Planned]] = {}
    for one in planned:
        by_stage.setdefault((one.stage, one.endpoint.url, one.endpoint.model), []).append(one)
    order = [prompting.STAGE, answering.STAGE, judging.STAGE]
    return [
        _estimate(stage, asked[0].endpoint, asked, ledger)
        for (stage, *_), asked in sorted(by_stage.items(), key=lambda item: order.index(item[0][0]))
    ]


def _estimate(stage: str, endpoint: EndpointSection, asked: list[Planned], ledger: Ledger | None) -> Estimate:
    left = [one for one in asked if not (ledger and one.key and one.key in ledger)]
    seen = ledger.mean_completion(stage, endpoint.model) if ledger else None
    high = Usage(sum(p.prompt_tokens for p in left), sum(p.max_tokens for p in left))
    each = [min(p.max_tokens, seen if seen is not None else p.max_tokens * UNSEEN) for p in left]
    low = Usage(high.prompt, int(sum(each)))
    price = find_price(endpoint.model, endpoint.price) if endpoint.base_url else Price(input=0, output=0)
    if price and endpoint.batch:
        price = price.halved()
    usd = (price.of(low), price.of(high)) if price else None
    return Estimate(stage, endpoint, len(asked), len(asked) - len(left), (low.total, high.total), usd)


def print_estimate(
    estimates: list[Estimate], recipe: SynthesisRecipe, sieve: Sieve, console: Console
) -> None:
    """Print the estimates as a table, and whether the budget may be too small."""
    table = Table("stage", "model", box=SIMPLE_HEAD)
    for heading in ("requests", "there", "1,000 tokens", "dollars", "time"):
        table.add_column(heading, justify="right")
    for e in estimates:
        no_limit = "a day at most" if e.endpoint.batch else "no limit"
        time = no_limit if e.minutes is None else f"≥ {format_duration(60 * e.minutes)}"
        tokens = f"{e.tokens[0] / 1000:,.0f} to {e.tokens[1] / 1000:,.0f}"
        table.add_row(
            e.stage,
            e.endpoint.model,
            f"{e.requests:,}",
            percent(e.cached / e.requests),
            tokens,
            _dollars(e),
            time,
        )
    answered = sum(e.requests for e in estimates if e.stage == answering.STAGE)
    rows = answered // sum(section.n for section in recipe.answers.values())
    console.print(plural(rows, "prompt"), highlight=False)
    console.print(table)
    if sieve.counts:
        console.print(f"dropped before any request: {sieve.say()}", highlight=False, markup=False)
    high = sum(e.usd[1] for e in estimates if e.usd)
    if any(e.usd is None for e in estimates):
        console.print("A price is not known: give it as endpoints.NAME.price, or set budget.max_tokens.")
    if recipe.budget.max_usd and high > recipe.budget.max_usd:
        console.print(f"budget.max_usd = {recipe.budget.max_usd:g} may stop it before the end.")
    console.print("Nothing was sent.")


def _dollars(e: Estimate) -> str:
    if e.endpoint.base_url is None:
        return "free"
    return "unknown" if e.usd is None else f"{e.usd[0]:.2f} to {e.usd[1]:.2f}"
