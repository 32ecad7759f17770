"""The recipe of a synthetic data set: every section, with its fields, defaults and limits."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from boresight.config.base import BaseRecipe
from boresight.config.refusals.without_effect import Rule, refusals_by
from boresight.config.section import Section, non_default_settings
from boresight.core.errors import UserError
from boresight.llm.budget import BudgetSection
from boresight.llm.endpoint import EndpointSection
from boresight.scorers.judges.base import JudgeConfig
from boresight.scorers.judges.endpoint import EndpointConfig
from boresight.synthesis import judge_config

Side = Literal["chosen", "rejected"]


class Decoding(Section):
    """How text is sampled."""

    max_tokens: int = Field(default=256, gt=0)
    """Maximum length of a text, in tokens."""
    temperature: float = Field(default=0.9, ge=0)
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of the probability in nucleus sampling, which uses the smallest set of tokens with this share."""
    seed: int | None = Field(default=None, ge=0, lt=2**32)
    """Seed that is sent with requests if set; the sample's number is added to it."""

    def params(self) -> dict[str, Any]:
        """Return the sampling parameters under their OpenAI names, without unset ones."""
        chosen = {name: getattr(self, name) for name in Decoding.model_fields}
        return {name: value for name, value in chosen.items() if value is not None}


class NewPrompts(Decoding):
    """New prompts in the style of seeds (Wang et al. 2023, arXiv 2212.10560)."""

    by: str
    """Name of the endpoint that writes them."""
    count: int = Field(gt=0)
    """Number of new prompts."""
    shots: int = Field(default=4, gt=0)
    """Number of seed prompts shown as examples in one request, drawn at random for each request."""
    per_request: int = Field(default=5, gt=0)
    """Number of new prompts that one request asks for."""
    topics: list[str] = []
    """Topics of the new prompts, for diversity; each request names the next one in turn."""
    max_overlap: float = Field(default=0.5, gt=0, le=1)
    """Largest Jaccard similarity of word pairs with an earlier prompt or a seed; more similar new prompts are
    rejected."""
    max_tokens: int = Field(default=1024, gt=0)
    """Maximum length of the reply to one request, in tokens."""


class PromptsSection(Section):
    """Source of the prompts, and filters that are applied before any request is sent."""

    source: str = "demo"
    """Prompts as `data.train` names them (a file, a hub id, `generate:NAME`), or `demo`; the seeds, where new
    prompts are made."""
    limit: int | None = Field(default=None, gt=0)
    """Maximum number of prompts to use from the source, drawn with the seed."""
    new: NewPrompts | None = None
    """Make new prompts in the style of `source`."""
    near_duplicates: float | None = Field(default=None, gt=0, lt=1)
    """Similarity with an earlier prompt from which a prompt is dropped: Jaccard similarity of word 3-grams,
    estimated by MinHash (extra `dedup`). Exact copies are always dropped."""
    held_out: list[str] = []
    """Files of evaluation prompts; a prompt that overlaps with one of these is dropped."""
    overlap_words: int = Field(default=8, gt=1)
    """Number of consecutive words that count as an overlap; a shorter held-out prompt must occur
    completely."""


class AnswersSection(Decoding):
    """Answers of one model to every prompt."""

    by: str
    """Name of the endpoint that generates the answers."""
    n: int = Field(default=4, gt=0)
    """Number of answers per prompt."""
    system: str | None = None
    """A system message put before the prompt in requests; the data do not contain it."""
    side: Side | None = None
    """Take these answers as chosen or rejected without judging. Answers that are written to be good or bad
    leak the label through style; see `pairs.leaks`."""


class PairsSection(Section):
    """Rules by which answers become pairs."""

    per_prompt: int = Field(default=1, gt=0)
    """Largest number of pairs per prompt, the best first; no answer is in two of them."""
    margin: float = Field(default=0.0, ge=0)
    """The scores must differ by more than this; equal scores are never a pair."""
    max_length_gap: float | None = Field(default=0.3, gt=0, le=1)
    """Largest difference of length in words, as a share of the longer answer; the worst answer within it
    is the rejected one."""
    min_words: int = Field(default=1, gt=0)
    """Fewest words of an answer in a pair."""
    leaks: bool = False
    """Permit the two sides to be made differently on purpose, as in the study; required for such a recipe."""


class SynthesisRecipe(BaseRecipe):
    """The recipe of a synthetic data set."""

    CHOICES = {"judge": judge_config}

    endpoints: dict[str, EndpointSection]
    """Models by a name of your choice."""
    prompts: PromptsSection = PromptsSection()
    answers: dict[str, AnswersSection] = Field(min_length=1)
    """Sources of answers, by a name of your choice."""
    judge: SerializeAsAny[JudgeConfig] | None = None
    """`name`, and that judge's own settings; null where every answer has a side."""
    pairs: PairsSection = PairsSection()
    budget: BudgetSection = BudgetSection()
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the random draw of prompts, and of the examples in requests for new prompts."""
    stuck_after: float = Field(default=300.0, gt=0)
    """Seconds without any answer after which the run stops."""

    @classmethod
    def parse(cls, raw: dict[str, Any], source: str = "recipe") -> Self:
        """Check a recipe given as nested dictionaries; errors name `source`, and never quote a key."""
        recipe = super().parse(raw, source)
        _require_names(recipe, source)
        return recipe

    @model_validator(mode="after")
    def _options_must_act(self) -> SynthesisRecipe:
        sided = [a for a in self.answers.values() if a.side]
        if sided and self.judge is not None:
            raise ValueError("answers.side and judge are both set; keep one of them")
        if sided and {a.side for a in self.answers.values()} != {"chosen", "rejected"}:
            raise ValueError("answers.side must be set for all answers, chosen and rejected, or for none")
        if not sided and self.judge is None:
            raise ValueError("judge is missing; name one, or give every answers entry a side")
        if self.leaking and not self.pairs.leaks:
            raise ValueError(
                f"chosen and rejected answers are made differently ({self.leaking}), which a model learns "
                "instead of quality; use one setting for both, or set pairs.leaks=true to do it on purpose"
            )
        return self

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect beside the others, each with the reason."""
        sided = any(answers.side for answers in self.answers.values())
        by_side = "with answers.side, which decides the pairs"
        rules: list[Rule] = [
            (["pairs.margin", "pairs.per_prompt"], not sided, by_side),
            (["pairs.leaks"], sided, "without answers.side, which alone makes the two sides differ"),
            (["prompts.overlap_words"], bool(self.prompts.held_out), "without prompts.held_out"),
            (["judge.budget"], False, "in a synthesis, whose `budget` covers the judge too"),
        ]
        changed = {
            f"{section}.{name}": value
            for section, settings in (("pairs", self.pairs), ("prompts", self.prompts), ("judge", self.judge))
            if settings is not None
            for name, value in non_default_settings(settings).items()
        }
        found = refusals_by(rules, changed)
        for name, endpoint in self.endpoints.items():
            found |= endpoint.without_effect(f"endpoints.{name}")
        return found

    @property
    def leaking(self) -> str:
        """Settings in which the answers of the two sides differ, as text; empty if there are none."""
        sides: dict[str, set[str]] = {"chosen": set(), "rejected": set()}
        for answers in self.answers.values():
            if answers.side:
                made = {name: getattr(answers, name) for name in ("by", "system", *Decoding.model_fields)}
                sides[answers.side] |= {f"{name} {value!r}" for name, value in made.items()}
        only = [sorted(sides["chosen"] - sides["rejected"]), sorted(sides["rejected"] - sides["chosen"])]
        return " against ".join(", ".join(_short(part)) for part in only) if any(only) else ""


def _short(parts: list[str]) -> list[str]:
    return [part if len(part) <= 40 else f"{part[:37]}..." for part in parts]


def _require_names(recipe: SynthesisRecipe, source: str) -> None:
    """Raise a `UserError` if a `by` names no endpoint, or if two endpoints are one model at one address with
    different settings."""
    named = {f"answers.{name}.by": answers.by for name, answers in recipe.answers.items()}
    if recipe.prompts.new:
        named["prompts.new.by"] = recipe.prompts.new.by
    if (by := getattr(recipe.judge, "by", None)) is not None:
        named["judge.by"] = by
    for field, name in named.items():
        if name not in recipe.endpoints:
            known = ", ".join(recipe.endpoints)
            raise UserError(f"{source}: {field} is {name!r}, which is no endpoint; known: {known}.")
    first: dict[tuple[str, str], str] = {}
    for name in dict.fromkeys(named.values()):
        endpoint = recipe.endpoints[name]
        other = first.setdefault((endpoint.url, endpoint.model), name)
        if recipe.endpoints[other] != endpoint:  # they share limits, budget and ledger
            raise UserError(
                f"{source}: endpoints.{other} and endpoints.{name} are one model at one address with "
                "different settings; keep one of them."
            )
    if isinstance(recipe.judge, EndpointConfig):
        its = judge_config.endpoint_of(recipe.judge)
        if (used := first.get((its.url, its.model))) is not None:
            _refuse_other_settings(its, used, recipe.endpoints[used], source)


def _refuse_other_settings(judge: EndpointSection, name: str, used: EndpointSection, source: str) -> None:
    """Raise a `UserError` if the judge and the endpoint `name`, which are one model, have different settings.

    Those of the judge would be ignored.
    """
    keys = [key for key in judge_config.OF_ENDPOINT if getattr(judge, key) != getattr(used, key)]
    if keys:
        raise UserError(
            f"{source}: judge and endpoints.{name} are one model at one address and differ in "
            f"{', '.join(keys)}; give both the same."
        )
