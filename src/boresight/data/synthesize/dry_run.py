"""`--dry-run`: what a run would ask, how much of it is there already, and what the rest would cost.

Nothing is sent. Answers that do not exist yet have an unknown length: the low end takes the mean length that
the ledger has seen from the same stage and model, or an eighth of `max_tokens`; the high end takes all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from boresight.data.schema import Prompt
from boresight.data.synthesize import answers as answering
from boresight.data.synthesize import judge as judging
from boresight.data.synthesize import prompts as prompting
from boresight.data.synthesize.budget import Price, find_price
from boresight.data.synthesize.judge import RubricConfig
from boresight.data.synthesize.ledger import Ledger
from boresight.data.synthesize.recipe import EndpointSection, Recipe
from boresight.data.synthesize.request import BYTES_PER_TOKEN, Request, Usage
from boresight.data.synthesize.sieve import Sieve

UNSEEN = 1 / 8
"""Share of `max_tokens` that an answer takes at the low end, when none has been seen."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One stage at one endpoint. Tokens and dollars are (low, high) of what is still to be bought."""

    stage: str
    endpoint: EndpointSection
    requests: int
    cached: int
    tokens: tuple[int, int]
    usd: tuple[float, float] | None
    """None where the price is unknown."""

    @property
    def minutes(self) -> float | None:
        """At the endpoint's own limits; None where it has none."""
        limits, left = self.endpoint.limits, self.requests - self.cached
        bounds = [left / limits.rpm] if limits.rpm else []
        bounds += (
            [self.tokens[1 if limits.tpm_counts == "requested" else 0] / limits.tpm] if limits.tpm else []
        )
        return max(bounds, default=None)


@dataclass(frozen=True, slots=True)
class Planned:
    """A request that is known, or one that stands for those whose text does not exist yet."""

    stage: str
    by: str
    prompt_tokens: int
    max_tokens: int
    key: str | None = None


def estimate(recipe: Recipe, folder: Path, sieve: Sieve | None = None) -> list[Estimate]:
    """Every stage and endpoint of the recipe, in order.

    Raises:
        UserError: the prompts cannot be read, or another process works in the folder.
    """
    planned = list(_plan(recipe, sieve or Sieve()))
    path = folder / "ledger.sqlite"
    if not path.exists():
        return _sum(recipe, planned, None)
    with Ledger(path) as ledger:
        return _sum(recipe, planned, ledger)


def _plan(recipe: Recipe, sieve: Sieve) -> Iterator[Planned]:
    found = prompting.read_prompts(recipe.prompts, recipe.seed)
    if new := recipe.prompts.new:
        for i in range(-(-new.count // new.per_request)):
            yield _known(prompting.request_for(recipe, new, found, i), new.by)
        size = sum(len(prompting.text_of(p.prompt).encode()) for p in found) / max(len(found), 1)
        yield from _later(recipe, new.count, int(size / BYTES_PER_TOKEN))
        return
    kept = prompting.filter_prompts(found, recipe.prompts, sieve)
    for prompt in kept:
        for section in recipe.answers.values():
            for request in answering.requests_to(recipe, section, prompt):
                yield _known(request, section.by)
        yield from _judging(recipe, _tokens(prompt))


def _later(recipe: Recipe, count: int, prompt_tokens: int) -> Iterator[Planned]:
    """Answers to prompts that are not written yet."""
    for _ in range(count):
        for section in recipe.answers.values():
            for _ in range(section.n):
                yield Planned(answering.STAGE, section.by, prompt_tokens, section.max_tokens)
        yield from _judging(recipe, prompt_tokens)


def _judging(recipe: Recipe, prompt_tokens: int) -> Iterator[Planned]:
    """What the rubric will be asked about one prompt: all its answers, in every order."""
    if isinstance(recipe.judge, RubricConfig):
        longest = sum(section.n * section.max_tokens for section in recipe.answers.values())
        instructions = int(len(judging.INSTRUCTIONS) / BYTES_PER_TOKEN)
        shown = prompt_tokens + instructions + longest
        for _ in range(recipe.judge.orders):
            yield Planned(judging.STAGE, recipe.judge.by, shown, recipe.judge.max_tokens)


def _known(request: Request, by: str) -> Planned:
    return Planned(request.stage, by, request.prompt_tokens, request.max_tokens, request.key)


def _tokens(prompt: Prompt) -> int:
    return int(len(prompting.text_of(prompt.prompt).encode()) / BYTES_PER_TOKEN)


def _sum(recipe: Recipe, planned: list[Planned], ledger: Ledger | None) -> list[Estimate]:
    by_stage: dict[tuple[str, str], list[Planned]] = {}
    for one in planned:
        by_stage.setdefault((one.stage, one.by), []).append(one)
    order = [prompting.STAGE, answering.STAGE, judging.STAGE]
    return [
        _estimate(stage, recipe.endpoints[by], asked, ledger)
        for (stage, by), asked in sorted(by_stage.items(), key=lambda item: order.index(item[0][0]))
    ]


def _estimate(stage: str, endpoint: EndpointSection, asked: list[Planned], ledger: Ledger | None) -> Estimate:
    left = [one for one in asked if not (ledger and one.key and one.key in ledger)]
    seen = ledger.mean_completion(stage, endpoint.model) if ledger else None
    high = Usage(sum(p.prompt_tokens for p in left), sum(p.max_tokens for p in left))
    each = [min(p.max_tokens, seen if seen is not None else p.max_tokens * UNSEEN) for p in left]
    low = Usage(high.prompt, int(sum(each)))
    price = find_price(endpoint.model, endpoint.price) if endpoint.base_url else Price(input=0, output=0)
    usd = (price.of(low), price.of(high)) if price else None
    return Estimate(stage, endpoint, len(asked), len(asked) - len(left), (low.total, high.total), usd)


def print_estimate(estimates: list[Estimate], recipe: Recipe, sieve: Sieve, console: Console) -> None:
    """The plan as a table; says what the budget would stop."""
    table = Table("stage", "model", box=SIMPLE_HEAD)
    for heading in ("requests", "there", "1,000 tokens", "dollars", "minutes"):
        table.add_column(heading, justify="right")
    for e in estimates:
        minutes = "no limit" if e.minutes is None else f"≥ {e.minutes:.1f}"
        tokens = f"{e.tokens[0] / 1000:,.0f} to {e.tokens[1] / 1000:,.0f}"
        table.add_row(
            e.stage,
            e.endpoint.model,
            f"{e.requests:,}",
            f"{e.cached / e.requests:.0%}",
            tokens,
            _dollars(e),
            minutes,
        )
    console.print(table)
    if sieve.counts:
        console.print(f"left out before anything is bought: {sieve.say()}", highlight=False, markup=False)
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
