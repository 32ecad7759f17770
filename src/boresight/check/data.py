"""Checks of the examples themselves, before any tokenizer sees them.

All of them are exact and run over every example, except `prompts_shuffled`, which draws `SAMPLE` pairs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from boresight.check import text
from boresight.check.finding import Finding, error, graded, note, percent, warning
from boresight.data.schema import Demonstration, Example, Message, Preference

SAMPLE = 1000
FEWEST = 30
"""With fewer examples than this, shares say nothing and are not judged."""


@dataclass(frozen=True)
class Examples:
    """Training and held-out examples, as they were read."""

    train: Sequence[Example]
    eval: Sequence[Example] = ()

    @cached_property
    def pairs(self) -> list[Preference]:
        """The training pairs; empty for other kinds of data."""
        return [example for example in self.train if isinstance(example, Preference)]

    @cached_property
    def answers(self) -> list[tuple[str, str]]:
        """Chosen and rejected text of every training pair."""
        return [(said(pair.chosen), said(pair.rejected)) for pair in self.pairs]

    @cached_property
    def scored(self) -> list[Preference]:
        """Training pairs that carry both scores."""
        return [p for p in self.pairs if p.chosen_score is not None and p.rejected_score is not None]

    @cached_property
    def prompts(self) -> list[str]:
        """The prompt of every training example."""
        return [said(prompt_of(example)) for example in self.train]


def said(turns: Iterable[Message]) -> str:
    """The words of some turns."""
    return "\n".join(message["content"] for message in turns)


def prompt_of(example: Example) -> list[Message]:
    """What stands before the answer; for a demonstration, before the last one."""
    return example.messages[:-1] if isinstance(example, Demonstration) else example.prompt


def turns_of(example: Example) -> Iterator[Message]:
    """Every message of an example."""
    if isinstance(example, Demonstration):
        return iter(example.messages)
    answers = [*example.chosen, *example.rejected] if isinstance(example, Preference) else []
    return iter([*example.prompt, *answers])


# Broken rows --------------------------------------------------------------------------------------------


def scores_not_finite(data: Examples) -> Finding | None:
    """A score of NaN or infinity."""
    ids = [p.id for p in data.scored if not (_finite(p.chosen_score) and _finite(p.rejected_score))]
    if not ids:
        return None
    return error(
        "scores-not-finite",
        f"{len(ids):,} of {len(data.pairs):,} pairs have a score that is NaN or infinite, so their label "
        "rests on nothing.",
        "Remove these rows, or leave their scores out.",
        ids=ids,
    )


def empty_turns(data: Examples) -> Finding | None:
    """A message without words."""
    ids = [e.id for e in data.train if any(not m["content"].strip() for m in turns_of(e))]
    if not ids:
        return None
    share = len(ids) / len(data.train)
    return graded(
        "empty-turns",
        share,
        0.05,
        f"{len(ids):,} of {len(data.train):,} examples ({percent(share)}) hold a turn without words, which "
        "teaches the model to say nothing.",
        "Remove these rows (data.bad_rows=drop leaves out those a reader rejects).",
        ids=ids,
    )


def prompts_differ(data: Examples) -> Finding | None:
    """The two sides of a pair answer different conversations."""
    ids = [p.id for p in data.pairs if _user_turns(p.chosen) != _user_turns(p.rejected)]
    if not ids:
        return None
    share = len(ids) / len(data.pairs)
    return graded(
        "prompts-differ",
        share,
        0.2,
        f"In {len(ids):,} of {len(data.pairs):,} pairs ({percent(share)}) the user says something else "
        "before the chosen answer than before the rejected one, so the two are not comparable.",
        "Keep only pairs that share everything but the last answer.",
        ids=ids,
    )


def template_in_text(data: Examples) -> Finding | None:
    """Text that already carries a chat template's markers."""
    ids = [e.id for e in data.train if any(text.has_markers(m["content"]) for m in turns_of(e))]
    share = len(ids) / max(1, len(data.train))
    if share < 0.01:
        return None
    return graded(
        "template-in-text",
        share,
        0.2,
        f"{len(ids):,} of {len(data.train):,} examples ({percent(share)}) carry markers of a chat template "
        "inside their words, so the template would be applied twice.",
        "Store conversations as messages with plain words, and let model.chat_template write the markers.",
        ids=ids,
    )


def encoding_damage(data: Examples) -> Finding | None:
    """Characters that come from decoding with the wrong encoding."""
    ids = [e.id for e in data.train if any(text.is_damaged(m["content"]) for m in turns_of(e))]
    share = len(ids) / max(1, len(data.train))
    if share < 0.005 or len(data.train) < FEWEST:
        return None
    return graded(
        "encoding-damage",
        share,
        0.5,
        f"{len(ids):,} of {len(data.train):,} examples ({percent(share)}) hold replacement characters or "
        "text decoded with the wrong encoding, which the model learns to write.",
        "Read the source as UTF-8, or repair it, before training on it.",
        ids=ids,
    )


# Labels -------------------------------------------------------------------------------------------------


def identical_pairs(data: Examples) -> Finding | None:
    """Chosen and rejected are the same answer."""
    ids = [p.id for p, (a, b) in zip(data.pairs, data.answers, strict=True) if a.split() == b.split()]
    if not ids:
        return None
    share = len(ids) / len(data.pairs)
    return graded(
        "identical-pairs",
        share,
        0.2,
        f"{len(ids):,} of {len(data.pairs):,} pairs ({percent(share)}) have the same answer on both sides; "
        "their margin is 0 whatever the model does.",
        "Remove these pairs.",
        ids=ids,
    )


def labels_swapped(data: Examples) -> Finding | None:
    """The scores of the source contradict most labels."""
    ids, share = _inverted(data)
    if share < 0.75:
        return None
    return error(
        "labels-swapped",
        f"In {percent(share)} of {len(data.scored):,} scored pairs the rejected answer has the higher "
        "score, so training would prefer the worse answer.",
        "Swap chosen and rejected, or turn the sign of a score where lower is better.",
        ids=ids,
    )


def labels_random(data: Examples) -> Finding | None:
    """The scores of the source contradict about half of the labels."""
    ids, share = _inverted(data)
    if not 0.35 <= share < 0.75:
        return None
    return error(
        "labels-random",
        f"In {percent(share)} of {len(data.scored):,} scored pairs the rejected answer has the higher "
        "score: the labels are a coin toss, and accuracy cannot leave one half.",
        "Build chosen and rejected from the scores.",
        ids=ids,
    )


def labels_noisy(data: Examples) -> Finding | None:
    """The scores of the source contradict some labels."""
    ids, share = _inverted(data)
    if not 0.02 <= share < 0.35:
        return None
    return warning(
        "labels-noisy",
        f"In {percent(share)} of {len(data.scored):,} scored pairs the rejected answer has the higher "
        f"score; that caps held-out accuracy at about {1 - share:.0%}.",
        "Swap or remove these pairs, or set method.label_smoothing to their share.",
        ids=ids,
    )


def conflicting_labels(data: Examples) -> Finding | None:
    """The same two answers to one prompt, preferred both ways."""
    seen: dict[tuple[str, str, str], str] = {}
    ids = []
    for pair, (chosen, rejected) in zip(data.pairs, data.answers, strict=True):
        prompt = said(pair.prompt)
        if chosen != rejected and (prompt, rejected, chosen) in seen:
            ids += [pair.id]
        seen[prompt, chosen, rejected] = pair.id
    if not ids:
        return None
    share = len(ids) / len(data.pairs)
    return graded(
        "conflicting-labels",
        share,
        0.1,
        f"{len(ids):,} of {len(data.pairs):,} pairs ({percent(share)}) state the opposite of another pair "
        "with the same prompt and answers, so the two cancel.",
        "Keep one of each, by majority or by score.",
        ids=ids,
    )


def equal_scores(data: Examples) -> Finding | None:
    """Pairs whose scores do not differ."""
    ids = [p.id for p in data.scored if p.chosen_score == p.rejected_score]
    share = len(ids) / max(1, len(data.scored))
    if share < 0.01 or len(data.scored) < FEWEST:
        return None
    return graded(
        "equal-scores",
        share,
        0.5,
        f"{len(ids):,} of {len(data.scored):,} scored pairs ({percent(share)}) have equal scores, so their "
        "label is a coin toss.",
        "Remove them.",
        ids=ids,
    )


# What could be learnt instead ---------------------------------------------------------------------------


def train_eval_overlap(data: Examples) -> Finding | None:
    """Held-out examples that are trained on."""
    if not data.eval:
        return None
    trained = set(data.prompts)
    ids = [e.id for e in data.eval if said(prompt_of(e)) in trained]
    if not ids:
        return None
    share = len(ids) / len(data.eval)
    return graded(
        "train-eval-overlap",
        share,
        0.05,
        f"{len(ids):,} of {len(data.eval):,} held-out examples ({percent(share)}) have a prompt that is "
        "also trained on, so held-out numbers measure memory.",
        "Remove these prompts from one side, or leave data.eval out: the split keeps equal prompts together.",
        ids=ids,
    )


def prompts_shuffled(data: Examples) -> Finding | None:
    """Answers share no more words with their own prompt than with somebody else's.

    The statistic is the mean, over up to `SAMPLE` pairs, of (words shared with the own prompt) minus (words
    shared with the next row's prompt), in standard errors. Words that stand in a tenth of all prompts do
    not count. Data whose answers never repeat a word of their prompt cannot be told from shuffled data,
    which is why this is a warning.
    """
    paired = _prompts_and_answers(data)
    if len(paired) < 2 * FEWEST:
        return None
    gaps = text.overlap_gaps(paired)
    spread = float(gaps.std()) / math.sqrt(len(gaps))
    if not spread or float(gaps.mean()) > 2.5 * spread:
        return None
    return warning(
        "prompts-shuffled",
        f"In {len(gaps):,} sampled examples the answers share no more words with their own prompt than with "
        "another example's, as if prompts and answers had been shuffled.",
        "Read a few rows with `boresight data show`, and check how the file was joined.",
        count=len(gaps),
    )


def length_leak(data: Examples) -> Finding | None:
    """Length alone predicts the label."""
    if len(data.pairs) < FEWEST:
        return None
    lengths = np.array([(len(a), len(b)) for a, b in data.answers])
    auc = float((np.sign(lengths[:, 0] - lengths[:, 1]) + 1).mean() / 2)
    far, noise = abs(auc - 0.5), 0.98 / math.sqrt(len(lengths))
    if far < 0.1 or far < noise:
        return None
    side, word = ("chosen", "longer") if auc > 0.5 else ("rejected", "shorter")
    return warning(
        "length-leak",
        f"The {side} answer is the longer one in {max(auc, 1 - auc):.0%} of {len(lengths):,} pairs: a rule "
        "that looks at nothing but length would do as well, and length is what the model will learn.",
        f"Balance lengths, or read results beside answer length: expect {word} answers.",
        count=len(lengths),
        numbers=(("auc", auc),),
    )


def boilerplate(data: Examples) -> Finding | None:
    """A phrase that gives the label away: openings, endings and refusals on one side only."""
    if len(data.pairs) < FEWEST:
        return None
    found = text.telling_phrase(data.answers)
    if found is None:
        return None
    phrase, side, share, other = found
    return warning(
        "boilerplate",
        f"{percent(share)} of the {side} answers carry {phrase!r} against {percent(other)} of the others, "
        "so the phrase gives the label away.",
        "Remove the phrase from both sides, or the pairs that have it.",
        count=round(share * len(data.pairs)),
    )


def near_identical_pairs(data: Examples) -> Finding | None:
    """The two answers differ by less than a tenth of their characters."""
    close = [
        p.id
        for p, (a, b) in zip(data.pairs, data.answers, strict=True)
        if a.split() != b.split() and text.distance(a, b) < 0.1
    ]
    share = len(close) / max(1, len(data.pairs))
    if share < 0.05 or len(data.pairs) < FEWEST:
        return None
    return warning(
        "near-identical-pairs",
        f"{len(close):,} of {len(data.pairs):,} pairs ({percent(share)}) differ in less than a tenth of "
        "their text; such pairs make the chosen answer less likely too (arXiv 2402.13228).",
        "Remove them, or set method.dpop_lambda.",
        ids=close,
    )


def foreign_answers(data: Examples) -> Finding | None:
    """Answers in another script than their prompt."""
    paired = _prompts_and_answers(data)
    odd = [p for p in paired if text.script(p[1]) != text.script(p[2]) and text.script(p[2])]
    odd = [p for p in odd if text.script(p[1])]
    share = len(odd) / max(1, len(paired))
    if share < 0.05 or len(paired) < FEWEST:
        return None
    return warning(
        "foreign-answers",
        f"{percent(share)} of {len(paired):,} sampled answers are in another script than their prompt.",
        "Filter by language, unless translation is the task.",
        ids=[id for id, _, _ in odd],
    )


def duplicated_prompts(data: Examples) -> Finding | None:
    """Prompts that come back."""
    counts = Counter(data.prompts)
    repeats = len(data.prompts) - len(counts)
    share = repeats / max(1, len(data.prompts))
    if share < 0.01 or len(data.prompts) < FEWEST:
        return None
    say = warning if share > 0.2 else note
    return say(
        "duplicated-prompts",
        f"{repeats:,} of {len(data.prompts):,} examples ({percent(share)}) repeat an earlier prompt, so "
        "there is less data than it seems.",
        "Keep one example a prompt, unless several answers to it are meant.",
        count=repeats,
    )


def eval_too_small(data: Examples) -> Finding | None:
    """A held-out set whose interval is wider than any likely effect."""
    if not 0 < len(data.eval) < 100:
        return None
    reach = 0.98 / math.sqrt(len(data.eval))
    return note(
        "eval-too-small",
        f"{len(data.eval):,} held-out examples give a share a 95 % interval of about ±{reach:.0%}.",
        "Hold out more with data.eval_rows; 400 give ±5 points.",
        count=len(data.eval),
    )


def _prompts_and_answers(data: Examples) -> list[tuple[str, str, str]]:
    """Id, last user turn and answer of up to `SAMPLE` examples, evenly spread."""
    step = max(1, len(data.train) // SAMPLE)
    found = []
    for example in data.train[::step][:SAMPLE]:
        if isinstance(example, Preference):
            found.append((example.id, example.prompt[-1]["content"], said(example.chosen)))
        elif isinstance(example, Demonstration) and len(example.messages) > 1:
            found.append((example.id, example.messages[-2]["content"], example.messages[-1]["content"]))
    return found


def _inverted(data: Examples) -> tuple[list[str], float]:
    """Ids of pairs whose rejected answer scores higher, and their share of pairs with different scores."""
    apart = [p for p in data.scored if p.chosen_score != p.rejected_score]
    if len(apart) < FEWEST:
        return [], 0.0
    ids = [p.id for p in apart if (p.chosen_score or 0.0) < (p.rejected_score or 0.0)]
    return ids, len(ids) / len(apart)


def _user_turns(turns: Sequence[Message]) -> list[str]:
    return [m["content"] for m in turns if m["role"] == "user"]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
