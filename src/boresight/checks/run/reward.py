"""Check reward functions on synthetic answers.

The answers to each prompt are: an empty answer, the prompt itself, a sentence, and right and wrong answers in
the usual forms. No model is needed. A reward that calls a paid service receives only a handful of answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from boresight.checks.data.examples import said
from boresight.core.schema import Example, prompt_of, to_prompt
from boresight.findings.finding import Finding, error, warning
from boresight.scorers.rewards import Rewards, RewardSum

PROMPTS = 4
SENTENCE = "Here is an answer of several words."


@dataclass(frozen=True)
class RewardProbe:
    """The rewards of a run, and the prompts on which they are checked."""

    rewards: RewardSum
    prompts: Sequence[Example]
    of_user: bool = True
    """Whether at least one of the rewards is not built in."""

    @property
    def some(self) -> Sequence[Example]:
        """The prompts that are used, the first `PROMPTS`."""
        return self.prompts[:PROMPTS]

    @cached_property
    def tried(self) -> Rewards:
        """Rewards of every synthetic answer to every used prompt, computed as in training."""
        pairs = [(to_prompt(e), answer) for e in self.some for answer in _answers(e)]
        return self.rewards([prompt for prompt, _ in pairs], [answer for _, answer in pairs])

    def empty(self, with_prompt: bool) -> list[float]:
        """Return the rewards of empty answers, one per prompt.

        With `with_prompt` they are answers to the prompts, otherwise to empty prompts.
        """
        asked = [to_prompt(example) for example in self.some]
        prompts = asked if with_prompt else [replace(prompt, prompt=[]) for prompt in asked]
        return self.rewards(prompts, [""] * len(prompts)).total


def reward_fails(reward: RewardProbe) -> Finding | None:
    """Return the finding `reward-fails` if a reward function raises on ordinary answers, else None."""
    failures = reward.tried.failures
    if not failures:
        return None
    return error(
        "reward-fails",
        f"The reward raises on {len(failures)} of {len(reward.tried.total)} made-up answers, the first time "
        f"with {failures[0].error.partition(chr(10))[0]}.",
        "Return None for an answer that cannot be judged, and a number for every other.",
        count=len(failures),
    )


def reward_reads_prompt(reward: RewardProbe) -> Finding | None:
    """Return the finding `reward-reads-prompt` if empty answers are rewarded for their prompts, else None.

    The reward of an empty answer must not be larger with its prompt than without.
    """
    with_prompt, without = reward.empty(True), reward.empty(False)
    ids = [
        e.id
        for e, a, b in zip(reward.some, with_prompt, without, strict=True)
        if not (math.isnan(a) or math.isnan(b)) and a > b
    ]
    if not ids:
        return None
    return error(
        "reward-reads-prompt",
        f"An empty answer earns {max(with_prompt):g} with its prompt and {max(without):g} without: the "
        "reward reads the prompt, for instance an example answer in it.",
        "Score the completion alone.",
        ids=ids,
    )


def reward_missing(reward: RewardProbe) -> Finding | None:
    """Return the finding `reward-missing` if no answer has a reward, else None.

    Rewards that are missing because a function raised have a finding of their own (`reward_fails`).
    """
    if reward.tried.failures or reward.tried.missing < len(reward.tried.total) or not reward.tried.total:
        return None
    return warning(
        "reward-missing",
        f"The reward declines all of {len(reward.tried.total)} made-up answers to {len(reward.some)} "
        "prompts; an answer without a reward has no gradient.",
        "Look at the gold answers: one that cannot be read makes the reward missing; for words, use `exact`.",
        count=reward.tried.missing,
    )


def reward_constant(reward: RewardProbe) -> Finding | None:
    """Return the finding `reward-constant` if all answers have the same reward, else None.

    Built-in functions are not checked: their tests show that they distinguish answers.
    """
    if not reward.of_user:
        return None
    known = [value for value in reward.tried.total if not math.isnan(value)]
    if len(known) < 2 or max(known) > min(known):
        return None
    return warning(
        "reward-constant",
        f"{len(known)} made-up answers, empty ones and echoes of the prompt among them, all get "
        f"{known[0]:g}: with "
        "equal rewards every advantage is 0 and the policy learns nothing.",
        "Try the reward on a right and a wrong answer of yours; proceed if they differ.",
        count=len(known),
    )


def _answers(example: Example) -> list[str]:
    """Return synthetic answers to a prompt, among them right and wrong ones for a verifier of numbers."""
    prompt, meta = said(prompt_of(example)), example.meta
    target = meta.get("target", 1)
    numbers = meta.get("numbers") or meta.get("nums") or []
    forms = [f"<answer> {target} </answer>", f"<answer> {' + '.join(map(str, numbers)) or '1'} </answer>"]
    known = [str(meta[key]) for key in ("answer", "solution") if meta.get(key)]
    return ["", prompt, SENTENCE, *forms, *known]
