"""Healthy data, rows, models and logs to plant faults in."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np

from boresight import methods
from boresight.checks.data import tokens
from boresight.checks.data.examples import Examples
from boresight.checks.data.tokens import Tokens
from boresight.checks.forecast import forecast
from boresight.checks.run import initial_loss, method, model, reward
from boresight.checks.run.method import MethodSetting
from boresight.checks.run.model import Wiring
from boresight.config.dotted import apply_override
from boresight.config.recipe import Recipe
from boresight.core.schema import Preference
from boresight.data.rows import Completion, Row
from boresight.data.stop_tokens import EndOfTurn, end_of_turn, wire_stop_tokens
from boresight.findings.finding import Finding, ranked, run_checks
from boresight.findings.history import History
from boresight.findings.monitor import Monitor
from boresight.runs.check.preflight import EXAMPLES
from tests.tiny import tiny_model, tiny_tokenizer

TOPICS = [
    "tides",
    "bread",
    "granite",
    "lighthouses",
    "bees",
    "moon",
    "rust",
    "glass",
    "compost",
    "knots",
    "volcanoes",
    "owls",
    "printing",
    "salt",
    "windmills",
    "maples",
    "chess",
    "fog",
    "clocks",
    "coral",
    "rivers",
    "bridges",
    "violins",
    "comets",
]
ASKS = ("Explain {} to a child", "What is known about {}?", "Tell me a story of {}", "Why do people love {}?")
OPENERS = ("Well,", "In short,", "Most people know", "Long ago", "It turns out", "For centuries", "Today")
FILLERS = [
    "slowly",
    "gently",
    "often",
    "rarely",
    "deep",
    "bright",
    "small",
    "early",
    "northern",
    "quiet",
    "careful",
    "warm",
    "pale",
    "heavy",
]
QWEN = 494_032_768


def pairs(count: int = 240, seed: int = 0, scored: bool = True) -> list[Preference]:
    """Healthy pairs: varied prompts, answers about their topic, balanced lengths, scores that agree."""
    rng = random.Random(seed)
    return [_pair(rng, i, scored) for i in range(count)]


def _pair(rng: random.Random, i: int, scored: bool) -> Preference:
    topic = f"{rng.choice(TOPICS)} and {rng.choice(TOPICS)}{rng.randrange(10_000)}"
    prompt = [{"role": "user", "content": rng.choice(ASKS).format(topic)}]
    good, bad = (_answer(rng, topic, rng.randint(8, 24)) for _ in range(2))
    scores = (float(rng.randint(6, 10)), float(rng.randint(1, 5))) if scored else (None, None)
    return Preference(prompt, good, bad, f"pair-{i}", *scores)


def _answer(rng: random.Random, topic: str, words: int) -> list[dict[str, str]]:
    body = " ".join(rng.choice(FILLERS) for _ in range(words))
    said = f"{rng.choice(OPENERS)} {topic} {body} {rng.choice(FILLERS)}{rng.randrange(1000)}"
    return [{"role": "assistant", "content": said}]


def swapped(pair: Preference, scores: bool = False) -> Preference:
    """The other answer preferred; `scores` go along when asked."""
    other = replace(pair, chosen=pair.rejected, rejected=pair.chosen)
    if scores:
        return replace(other, chosen_score=pair.rejected_score, rejected_score=pair.chosen_score)
    return other


def recipe(name: str = "dpo", *settings: str, **sections: dict[str, Any]) -> Recipe:
    """A recipe at settings that work, on pairs whose curves are known, with `section.key=value` changes."""
    raw: dict[str, Any] = {
        "method": {"name": name},
        "data": {"train": "HuggingFaceH4/ultrafeedback_binarized"},
        "optim": {"lr": 2e-6},
        "train": {"batch": 64},
        **sections,
    }
    for setting in settings:
        apply_override(raw, setting)
    return Recipe.parse(raw)


END = EndOfTurn("<end>", 2)
BOS, PAD = 1, 0


def rows(count: int = 60, seed: int = 0) -> list[Row]:
    """Healthy rows: one BOS, everything scored, an end-of-turn token at the end."""
    rng = np.random.default_rng(seed)

    def completion(low: int = 4, high: int = 20) -> Completion:
        ids = np.append(rng.integers(5, 300, rng.integers(low, high)), END.id).astype(np.int32)
        return Completion(ids, np.ones(len(ids), bool))

    return [
        Row(
            f"row-{i}",
            np.append(BOS, rng.integers(5, 300, rng.integers(3, 12))).astype(np.int32),
            (completion(), completion()),
        )
        for i in range(count)
    ]


def change_completions(some: list[Row], change, sides: tuple[int, ...] = (0, 1)) -> list[Row]:
    """Rows with `change(ids, mask)` applied to their completions."""

    def changed(i: int, c: Completion) -> Completion:
        return Completion(*change(c.ids, c.mask.copy())) if i in sides else c

    return [
        replace(row, completions=tuple(changed(i, c) for i, c in enumerate(row.completions))) for row in some
    ]


def facts_of(some: list[Row], **more: Any) -> Tokens:
    """Token facts around rows."""
    return Tokens(**{"rows": some, "end": END, "max_length": 64, "pad": PAD, "bos": BOS} | more)


def wired(chosen: Recipe | None = None, **settings: Any) -> Wiring:
    """A tiny model, wired as training wires it."""
    tokenizer = tiny_tokenizer()
    built = tiny_model(vocab=len(tokenizer), **settings)
    wire_stop_tokens(built, tokenizer)
    return Wiring(built, tokenizer, end_of_turn(tokenizer), chosen or recipe(**{"data": SHORT}))


SHORT = {"train": "pairs.jsonl", "max_length": 256}


def found_in_data(train: list[Preference], held: list[Preference] | None = None) -> list[Finding]:
    """What the data checks say."""
    examples = Examples(train, pairs(120, seed=9) if held is None else held)
    return ranked([f for area in EXAMPLES for f in run_checks(area, examples)])


def found_in_tokens(facts: Tokens) -> list[Finding]:
    """What the token checks say."""
    return ranked(run_checks(tokens, facts))


def found_in_model(facts: Wiring) -> list[Finding]:
    """What the model checks say."""
    return ranked(run_checks(model, facts))


def found_in_recipe(
    chosen: Recipe, count: int = 60_000, size: int | None = QWEN, own: Any = None, labels: Any = None
) -> list[Finding]:
    """What the method checks and the forecast say of a recipe for `count` rows, `labels` good and bad."""
    from boresight.runs.check.preflight import steps_of

    steps = steps_of(chosen, count)
    setting = MethodSetting(chosen, own or methods.get(chosen.method_name), 100.0, steps, labels=labels)
    return ranked(
        [*run_checks(method, setting), *run_checks(forecast, forecast.forecast(chosen, steps, size))]
    )


def found_in_rewards(rewards: Any, prompts: list[Any]) -> list[Finding]:
    """What the reward checks say."""
    return ranked(run_checks(reward, reward.RewardProbe(rewards, prompts)))


def found_at_start(policy: Any, reference: Any, some: list[Row]) -> list[Finding]:
    """What the first-step checks say."""
    return ranked(run_checks(initial_loss, initial_loss.FirstStep(policy, reference, some)))


def found_live(lines: list[tuple[int, str, dict[str, float]]], steps: int = 100, eval_rows: int = 400):
    """What the monitor says of a log: worst first, then in the order it says it."""
    monitor = Monitor(History(steps, eval_rows))
    for step, split, numbers in lines:
        monitor.see(step, split, numbers)
    return ranked(monitor.findings)


SUPPORT = {"answers": 200.0, "answer_len_error": 2.0, "reward_error": 0.01}
"""Number of answers of an evaluation, and standard errors of their mean length and reward."""


def log(steps: int = 100, **curves: Any) -> list[tuple[int, str, dict[str, float]]]:
    """A training log: each curve is a function of progress; names with `held_` are held out, every tenth."""
    lines = []
    for step in range(1, steps + 1):
        at = step / steps
        train = {n: float(f(at)) for n, f in curves.items() if not n.startswith("held_")}
        lines.append((step, "train", train))
        held = {n.removeprefix("held_"): float(f(at)) for n, f in curves.items() if n.startswith("held_")}
        if held and step % 10 == 0:
            lines.append((step, "eval", SUPPORT | held))
    return lines
