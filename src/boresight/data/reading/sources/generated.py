"""Data sets that are generated from a seed: `data.train: generate:NAME`.

    generate:countdown-tiny-solutions           all 10,961 problems of the tiny model in every order, solved
    generate:countdown-tiny-rare-searches       the same problems, 3 % of them with a search before the answer
    generate:countdown-tiny-searches            the same problems, all of them with a search
    generate:countdown-tiny-problems            10,000 of the problems as prompts, to sample from
    generate:countdown-tiny-held-out            500 held-out problems as prompts
    generate:countdown-tiny-held-out-solutions  these 500 problems with their solutions
    generate:countdown-tiny-test                the other 705 held-out problems in every order: 3,822 prompts
    generate:countdown-traces                   2,000 problems with 3 or 4 numbers, solved in English
    generate:countdown-problems                 these 2,000 problems as prompts
    generate:countdown-held-out                 500 held-out problems as prompts
    generate:constraints-train                  480 prompts with a checkable constraint, about 60 topics
    generate:constraints-validation             160 prompts about 20 other topics, for tuning of settings
    generate:constraints-test                   800 prompts about 100 other topics

Training and held-out problems are disjoint by construction: a hash of numbers and target assigns the split.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError
from boresight.core.schema import Example
from boresight.core.wording import plural
from boresight.data.demo.prompts import HARDER_TASKS, TASKS, prompts
from boresight.data.demo.topics import TEST_TOPICS, TRAIN_TOPICS, VALIDATION_TOPICS
from boresight.data.reading.load import NOUNS, Loaded
from boresight.tasks.countdown import (
    Problem,
    all_problems,
    countdown_prompt,
    generate_problems,
    orders,
    search_trace,
    trace,
)
from boresight.tasks.countdown.problems import TINY, ProblemSplit

PREFIX = "generate:"


AT_ONCE = 0.55
"""Share of the tiny model's demonstrations that answer without a search.

It is more than half, so a model trained on them usually answers without a search, and reinforcement learning
has to raise the share of searches.
"""
RARELY_AT_ONCE = 0.97
"""Share of the demonstrations in `countdown-tiny-rare-searches` that answer without a search.

A method must first sample one of the rare searches to learn that it is rewarded.
"""


def _all_tiny(split: ProblemSplit) -> list[Problem]:
    """Return every problem of one split of the tiny model, with its numbers in ascending order."""
    (size,) = TINY["sizes"]
    return all_problems(size, split=split, **{name: TINY[name] for name in ("low", "high", "targets")})


def _tiny_training() -> list[Problem]:
    return [asked for given in _all_tiny("train") for asked in orders(given)]


def _tiny_held_out() -> list[Problem]:
    return generate_problems(500, seed=1, split="held_out", **TINY)


def _tiny_test() -> list[Example]:
    """Return the test prompts of the tiny model in random order.

    `meta["problem"]` is the same for every order of a problem's numbers, which form one cluster.
    """
    measured = {problem.key for problem in _tiny_held_out()}
    rest = [problem for problem in _all_tiny("held_out") if problem.key not in measured]
    prompts = [
        replace(countdown_prompt(asked, "tiny"), meta={**asked.meta, "problem": given.key})
        for given in rest
        for asked in orders(given)
    ]
    return random.Random(2).sample(prompts, len(prompts))


def _solved(asked: Sequence[Problem], at_once: float = AT_ONCE) -> list[Example]:
    rng = random.Random(0)
    return [search_trace(problem, written=rng.random() >= at_once) for problem in asked]


def _constrained(topics: Sequence[str]) -> list[Example]:
    return list(prompts(topics, (*TASKS, *HARDER_TASKS)))


GENERATORS: dict[str, tuple[str, Callable[[], list[Example]]]] = {
    "countdown-tiny-solutions": ("demonstration", lambda: _solved(_tiny_training())),
    "countdown-tiny-rare-searches": ("demonstration", lambda: _solved(_tiny_training(), RARELY_AT_ONCE)),
    "countdown-tiny-searches": ("demonstration", lambda: [search_trace(p) for p in _tiny_training()]),
    "countdown-tiny-problems": (
        "prompt",
        lambda: [countdown_prompt(p, "tiny") for p in generate_problems(10_000, seed=0, **TINY)],
    ),
    "countdown-tiny-held-out": (
        "prompt",
        lambda: [countdown_prompt(p, "tiny") for p in _tiny_held_out()],
    ),
    "countdown-tiny-test": ("prompt", _tiny_test),
    "countdown-tiny-held-out-solutions": (
        "demonstration",
        lambda: _solved(_tiny_held_out()),
    ),
    "countdown-traces": (
        "demonstration",
        lambda: [trace(p, seed=i) for i, p in enumerate(generate_problems(2000, seed=0))],
    ),
    "countdown-problems": ("prompt", lambda: [countdown_prompt(p) for p in generate_problems(2000, seed=0)]),
    "countdown-held-out": (
        "prompt",
        lambda: [countdown_prompt(p) for p in generate_problems(500, seed=1, split="held_out")],
    ),
    "constraints-train": ("prompt", lambda: _constrained(TRAIN_TOPICS)),
    "constraints-validation": ("prompt", lambda: _constrained(VALIDATION_TOPICS)),
    "constraints-test": ("prompt", lambda: _constrained(TEST_TOPICS)),
}


def read_generated(name: str, kind: str | None = None) -> Loaded:
    """Generate the data set `generate:NAME`.

    Raises:
        UserError: there is no such data set, or its kind is not the requested one.
    """
    short = name.removeprefix(PREFIX)
    if short not in GENERATORS:
        raise UserError(f"{name}: nothing of that name is generated{nearest(short, GENERATORS)}.")
    made, make = GENERATORS[short]
    if kind not in (None, made):
        raise UserError(f"{name}: makes {NOUNS[made]}s, and this run needs {NOUNS[str(kind)]}s.")
    examples = make()
    digest = hashlib.sha256("\n".join(map(repr, examples)).encode()).hexdigest()
    sentence = f"made {plural(len(examples), NOUNS[made])} from a seed"
    rows = list(range(1, len(examples) + 1))
    return Loaded(examples, "generated", made, name, digest, [], 0, 0, sentence, rows)
