"""Recipes of `boresight evaluate`: prompts, the systems that answer them, and how answers are evaluated.

    prompts: held-out.jsonl
    systems:
      sft: {model: runs/sft}
      dpo: {model: runs/dpo}
    judge: {name: reward_model, model: runs/reward}

The first system is the reference that the others are compared with. With `reward` in place of `judge`, as in
training recipes, every answer is scored on its own:

    reward: [{function: countdown_correct}]
    samples: 16
    k: [1, 4, 16]

With `lm_eval`, tasks of lm-evaluation-harness are run on every model:

    lm_eval: {tasks: [gsm8k, arc_easy]}
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from boresight.config.base import BaseRecipe
from boresight.config.refusals.without_effect import Rule, refusals_by
from boresight.config.reward import RewardConfig, RewardList
from boresight.config.secrets import Address, KeyVariable
from boresight.config.section import Section, UnknownKey, WrongSetting, non_default_settings
from boresight.core.errors import UserError
from boresight.llm.budget import BudgetSection
from boresight.llm.endpoint import EndpointSection
from boresight.scorers import judges
from boresight.scorers.judges.base import JudgeConfig
from boresight.tasks.countdown.scorer import Mode

KINDS = ("judge", "reward", "countdown", "lm_eval")
"""Sections that select the kind of an evaluation; a recipe has exactly one of them."""
LOADING = ("device", "allow_weights")
"""Settings of `generate` for loading a model; all others are for sampling."""


class SystemSection(Section):
    """Source of a system's answers: a model or an endpoint that generates them, or a file."""

    model: str | None = None
    """A run folder, a model or adapter folder, a hub id, or `starter`."""
    answers: str | None = None
    """A run folder with samples, or a file (JSONL, JSON, Parquet, CSV, also with .gz) with the columns
    `prompt` (or `id`) and `answer`. With `reward`, the answers may also be in `completion`, or several per
    prompt in `completions`, and `truncated` or `finish_reason` is read if the file has it."""

    base_url: Address | None = None
    """Address of a `vllm serve` server that generates the answers. `model` then names the tokenizer and chat
    template, and must be the model that the server serves."""
    key_env: KeyVariable = "VLLM_API_KEY"
    """Environment variable with the key of the server at `base_url`, if it requires one."""

    endpoint: EndpointSection | None = None
    """Any OpenAI-compatible chat endpoint, with the keys of `endpoints` in recipes of `boresight
    synthesize`. Its answers are stored in the evaluation's folder, so that each is paid once."""

    @model_validator(mode="after")
    def _one_source(self) -> SystemSection:
        if [self.model, self.answers, self.endpoint].count(None) != 2:
            raise ValueError("give exactly one of model, answers and endpoint")
        if self.base_url is not None and self.model is None:
            raise ValueError("base_url needs a model beside it, and no answers")
        return self


class GenerateSection(Section):
    """How models generate answers; the same settings for all of them."""

    max_new_tokens: int = Field(default=512, gt=0)
    """Maximum answer length, in tokens. The number of answers that reach it is printed."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Total probability that the most likely tokens to choose from reach together (top-p); 1 keeps all."""
    top_k: int = Field(default=0, ge=0)
    """Number of tokens to choose from (top-k); 0 keeps all."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Random seed of the sampling."""
    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`; null takes a GPU when there is one."""
    allow_weights: list[str] = []
    """Shell patterns of weights that may be missing from a checkpoint or unknown to a model, as in
    `model.allow_weights`."""


class TrustSection(Section):
    """Sanity checks of the judge; every planted or repeated comparison costs an additional judgment."""

    controls: int = Field(default=50, ge=0)
    """Maximum number of planted cases (comparisons with a known verdict) of each kind; 0 plants none."""
    repeats: int = Field(default=50, ge=0)
    """Maximum number of comparisons that are judged a second time; 0: none are."""
    people: str | None = None
    """A file of human labels (CSV, JSONL, Parquet): prompt, answer_a, answer_b, preferred (a, b or tie), or
    any other that the judge `recorded` reads."""


class EvaluationRecipe(BaseRecipe):
    """Settings common to all kinds of evaluation: prompts, and the systems that answer them."""

    prompts: str | None = None
    """Held-out prompts in any layout of training data; null takes the prompts of the first system's
    answers."""
    layout: str | None = None
    """Name of the layout of `prompts`, if detection finds two that fit."""
    limit: int | None = Field(default=None, gt=0)
    """Use at most this many prompts, from the top."""
    systems: dict[str, SystemSection] = Field(min_length=1)
    """Systems by name; the first is the reference."""
    generate: GenerateSection = GenerateSection()
    budget: BudgetSection = BudgetSection()
    """Spending limits of systems behind endpoints; a judge has its own."""

    @classmethod
    def parse(
        cls, raw: dict[str, Any], source: str = "recipe"
    ) -> WinRateRecipe | RewardRecipe | CountdownRecipe | HarnessRecipe:
        """Check a recipe and return it; the section out of `KINDS` that it contains determines its class."""
        given = [section for section in KINDS if section in raw]
        if not given:
            known = [*cls.model_fields, *KINDS]
            misspelled = (key for key in raw if key not in known and get_close_matches(key, KINDS, n=1))
            if (unknown := next(misspelled, None)) is not None:
                raise UnknownKey(source, unknown, known)
            raise UserError(
                f"{source}: judge, reward, countdown and lm_eval are all missing; give one of these sections."
            )
        if len(given) > 1:
            sentence = f"{given[0]} and {given[1]} are two evaluations; give one of the sections."
            raise WrongSetting(source, sentence, "")
        if "countdown" in raw:
            return super(EvaluationRecipe, CountdownRecipe).parse(raw, source)
        if "lm_eval" in raw:
            return super(EvaluationRecipe, HarnessRecipe).parse(raw, source)
        if "reward" in raw:
            return super(EvaluationRecipe, RewardRecipe).parse(raw, source)
        return super(EvaluationRecipe, WinRateRecipe).parse(raw, source)

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect, each with the sentence that refuses it."""
        prompts = self.prompts is not None
        rules: list[Rule] = [(["layout"], prompts, "without prompts, whose layout it names"), *self._rules()]
        for name, system in self.systems.items():
            why = f"without systems.{name}.base_url, the server that it is for"
            rules.append(([f"systems.{name}.key_env"], system.base_url is not None, why))
        found = refusals_by(rules, self._changed())
        for name, system in self.systems.items():
            if system.endpoint is not None:
                found |= system.endpoint.without_effect(f"systems.{name}.endpoint")
        return found

    def _rules(self) -> list[Rule]:
        """Return the rules for settings without effect that one kind of evaluation adds."""
        return []

    def _changed(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, by dotted key.

        Of the sections, only those that a rule mentions are expanded.
        """
        sections = {"generate": self.generate, "trust": getattr(self, "trust", None)}
        sections |= {f"systems.{name}": system for name, system in self.systems.items()}
        return non_default_settings(self) | {
            f"{section}.{name}": value
            for section, settings in sections.items()
            if settings is not None
            for name, value in non_default_settings(settings).items()
        }

    def refuse_without_prompts(self) -> None:
        """Raise a `ValueError` if there is neither `prompts` nor a first system with `answers`."""
        if self.prompts is None and next(iter(self.systems.values())).answers is None:
            raise ValueError("prompts is missing, and the first system has no answers to take them from")

    def refuse_few_samples(self, samples: int, ks: list[int], section: str = "") -> None:
        """Raise a `ValueError` if `samples` do not suffice for `ks`, or if greedy samples would be identical.

        Nothing is checked if no system generates its answers.

        Args:
            samples: number of completions per prompt.
            ks: values of k of the requested metrics.
            section: dotted prefix of both settings in the error, such as `countdown.`.
        """
        if not any(system.model or system.endpoint for system in self.systems.values()):
            return
        if samples > 1 and self.generate.temperature == 0:
            raise ValueError(
                f"{section}samples above 1 need generate.temperature above 0: greedy ones are alike"
            )
        if max(ks) > samples:
            name = f"{section}pass_at" if section else "k"
            raise ValueError(f"{name} asks for more than {section}samples; raise that")


def each_k_once(ks: list[int]) -> list[int]:
    """Return the values of k in ascending order.

    Raises:
        ValueError: there are none, one is below 1, or one is given twice.
    """
    if not ks or min(ks) < 1 or len(set(ks)) < len(ks):
        raise ValueError("give each k once, from 1")
    return sorted(ks)


class RewardRecipe(EvaluationRecipe):
    """Recipe of an evaluation that scores every completion by a reward."""

    CHOICES = {"rank_by": judges}

    reward: RewardList = Field(min_length=1)
    """Reward functions and judges, as in training recipes; the weighted sum is measured. An entry that is
    only a name is a reward function."""
    samples: int = Field(default=1, gt=0)
    """Number of completions per prompt; more than one need `generate.temperature` above 0."""
    k: list[int] = [1]
    """For each k, the probability that at least one of k completions is right (pass@k), that their most
    frequent answer is right (maj@k), and that the highest-ranked one is right (best of k); at most
    `samples`."""
    correct_at: float | None = None
    """Minimum reward of a right answer. null is 1 if all rewards lie between 0 and 1; otherwise answers are
    not classified as right or wrong."""
    reading: str | None = None
    """Function `package.module:function` that takes a completion and its row and returns the answer, for
    maj@k; null takes the function that belongs to the reward."""
    rank_by: SerializeAsAny[JudgeConfig] | None = None
    """A judge that scores answers one by one, such as a reward model; best of k takes the answer with the
    highest score."""
    seeds: dict[str, list[str]] = {}
    """Groups of systems that differ only in their training seed, by the name of the group. Intervals are
    then also computed over seeds."""
    ledger: str = "runs/judgements.sqlite"
    """File in which scores of `rank_by` are stored, for all evaluations together."""

    _each_once = field_validator("k")(each_k_once)

    def _rules(self) -> list[Rule]:
        return [(["ledger"], self.rank_by is not None, "without rank_by, whose scores it stores")]

    @model_validator(mode="after")
    def _drawn_as_asked(self) -> Self:
        self.refuse_without_prompts()
        self.refuse_few_samples(self.samples, self.k)
        for name, members in self.seeds.items():
            if unknown := [member for member in members if member not in self.systems]:
                raise ValueError(f"seeds.{name} names {unknown[0]!r}, which is no system")
            if len(set(members)) < max(2, len(members)):
                raise ValueError(f"seeds.{name} names fewer than two systems, or one twice")
            if name in self.systems:
                raise ValueError(f"seeds.{name} has the name of a system; give it its own")
        if len({len(members) for members in self.seeds.values()}) > 1:
            raise ValueError("seeds names groups of unequal size, and differences are paired by seed")
        return self


class CountdownSection(Section):
    """Number of completions per problem, and how a completion is graded."""

    samples: int = Field(default=1, gt=0)
    """Number of completions per problem; more than one need `generate.temperature` above 0."""
    pass_at: list[int] = [1]
    """For each k, the unbiased estimate of the probability that at least one of k completions is right; at
    most `samples`."""
    mode: Mode = "strict"
    """`compat` is the public 0 / 0.1 / 1 grader, faults included."""

    _each_once = field_validator("pass_at")(each_k_once)


class CountdownRecipe(EvaluationRecipe):
    """Recipe of an evaluation on Countdown problems; a short form of a reward recipe."""

    countdown: CountdownSection

    @model_validator(mode="after")
    def _drawn_as_asked(self) -> Self:
        self.refuse_without_prompts()
        self.refuse_few_samples(self.countdown.samples, self.countdown.pass_at, "countdown.")
        return self

    def by_reward(self) -> RewardRecipe:
        """Return the reward recipe that measures the same."""
        function = {"strict": "countdown_correct", "compat": "countdown_compat"}[self.countdown.mode]
        shared = {name: getattr(self, name) for name in EvaluationRecipe.model_fields}
        return RewardRecipe(
            **shared,
            reward=[RewardConfig(function=function)],
            samples=self.countdown.samples,
            k=self.countdown.pass_at,
            correct_at=1.0,
        )


class HarnessSection(Section):
    """Tasks of lm-evaluation-harness, and how they are run."""

    tasks: list[str] = Field(min_length=1)
    """Names of tasks or groups, the harness's own or those in `folder`."""
    folder: str | None = None
    """A folder with YAML files of tasks of your own. Python functions that they name are run: it is your own
    code."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Number of examples in front of every document; null takes the task's own number."""
    chat_template: bool = False
    """Whether the model's chat template renders the prompts. Published numbers of base models are measured
    without it."""
    batch_size: int = Field(default=8, gt=0)
    """Number of requests per forward pass."""


class HarnessRecipe(EvaluationRecipe):
    """Recipe of a comparison of models on tasks of lm-evaluation-harness.

    `limit` is the maximum number of documents per task.
    """

    lm_eval: HarnessSection

    def _rules(self) -> list[Rule]:
        sampling = [f"generate.{name}" for name in GenerateSection.model_fields if name not in LOADING]
        return [(sampling, False, "with lm_eval, whose tasks have their own settings of sampling")]

    @model_validator(mode="after")
    def _models_alone(self) -> Self:
        if self.prompts is not None or self.layout is not None:
            raise ValueError(
                "prompts and layout have no effect with lm_eval, whose tasks have their own documents"
            )
        for name, system in self.systems.items():
            if system.model is None or system.base_url is not None:
                raise ValueError(
                    f"systems.{name} must be a model that is loaded here, since lm_eval calls it directly"
                )
        return self


class WinRateRecipe(EvaluationRecipe):
    """Recipe of a comparison of two or more systems by win rate."""

    CHOICES = {"judge": judges}

    systems: dict[str, SystemSection] = Field(min_length=2)
    """Systems by name; the first is the reference."""
    judge: SerializeAsAny[JudgeConfig]
    """`name`, and that judge's own settings."""
    trust: TrustSection = TrustSection()
    ledger: str = "runs/judgements.sqlite"
    """File in which replies of endpoints and scores of reward models are stored, for all evaluations
    together, so that no request is sent twice."""

    def _rules(self) -> list[Rule]:
        judges_others = judges.name_of(self.judge) != "recorded"
        why = "with the judge recorded, which has verdicts on the systems' answers alone"
        return [(["trust.controls", "trust.repeats"], judges_others, why)]

    @model_validator(mode="after")
    def _prompts_from_somewhere(self) -> Self:
        self.refuse_without_prompts()
        return self
