"""Constraints on an answer that can be checked by a program, and measures of the quality of the answer.

A constraint is, for example, "at most 20 words" or "start with 'Did you know'". Whether an answer meets it is
computed, so preference pairs that are built from constraints need no judge and no annotator.

A constraint alone can be met by bad answers: the shortest answer meets every word limit. Therefore this
module also has measures of quality that are independent of the constraint: whether the answer names its
topic, ends like a sentence, is not too short, and does not repeat itself. The likelihood of an answer under
the start model is measured elsewhere (`boresight.training.probes.likelihood`).

Answers are untrusted: they are only matched against the text of the constraint, and never evaluated.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError

FEWEST_WORDS = 8
"""Minimum number of words of an answer that is not a fragment."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint, such as `Constraint("max_words", {"n": 20})`.

    `params` are plain JSON values, so that a constraint can be stored in the `meta` of a row.

    Raises:
        UserError: the kind is unknown, or the parameters are not those of the kind.
    """

    kind: str
    params: dict[str, Any]

    def __post_init__(self) -> None:
        if self.kind not in CONSTRAINT_KINDS:
            raise UserError(
                f"constraint: there is no kind {self.kind!r}{nearest(self.kind, list(CONSTRAINT_KINDS))}."
            )
        expected = CONSTRAINT_KINDS[self.kind].params
        if set(self.params) != set(expected):
            raise UserError(
                f"constraint {self.kind}: takes the parameters {', '.join(expected) or 'none'}, "
                f"but got {', '.join(self.params) or 'none'}."
            )

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Constraint:
        """Read the constraint in the `meta` of a row.

        It has the form `{"constraint": {"kind": "max_words", "params": {"n": 15}}}`.

        Raises:
            UserError: it has another form, or its kind is unknown.
        """
        raw = meta.get("constraint")
        if (
            not isinstance(raw, Mapping)
            or set(raw) != {"kind", "params"}
            or not isinstance(raw["params"], Mapping)
        ):
            raise UserError(
                f"meta.constraint: {raw!r} is not a constraint; "
                'write it as {"kind": "max_words", "params": {"n": 15}}.'
            )
        return cls(raw["kind"], dict(raw["params"]))

    def instruction(self) -> str:
        """Return the constraint as one sentence to append to a prompt."""
        shown = {
            k: " and ".join(f'"{i}"' for i in v) if isinstance(v, list) else v for k, v in self.params.items()
        }
        return CONSTRAINT_KINDS[self.kind].instruction.format(**shown)

    def met(self, text: str) -> bool:
        """Return whether `text` meets the constraint; surrounding white space is ignored."""
        return CONSTRAINT_KINDS[self.kind].met(text.strip(), **self.params)


# --- words, sentences and bullets of an answer ---------------------------------------------------


def words(text: str) -> list[str]:
    """Return the words of `text`: runs of letters and digits, with inner apostrophes and hyphens."""
    return re.findall(r"\w+(?:['’-]\w+)*", text)


def sentences(text: str) -> list[str]:
    """Split `text` into sentences: after `.`, `!` or `?` followed by white space, and at line breaks.

    A period inside "3.5" or "smol.ai" does not end a sentence; a period after "Mt." does. That error is rare
    in short descriptive answers, and is the same before and after training.
    """
    pieces = re.split(r"(?<=[.!?])[\"')\]”’]*\s+|\n+", text.strip())
    return [p for p in pieces if words(p)]


def bullets(text: str) -> list[str]:
    """Return the text of lines that start with a bullet (`-`, `*` or `•`) and contain at least one word."""
    return re.findall(r"^[ \t]*[-*•][ \t]+(?=\S*\w)(.*)$", text, flags=re.MULTILINE)


# --- the checks --------------------------------------------------------------------------------


def _max_words(text: str, n: int) -> bool:
    return 0 < len(words(text)) <= n


def _word_range(text: str, low: int, high: int) -> bool:
    return low <= len(words(text)) <= high


def _commas(text: str, n: int) -> bool:
    return bool(words(text)) and text.count(",") == n


def _sentences(text: str, n: int) -> bool:
    return len(sentences(text)) == n and ends_as_sentence(text)


def _bullets(text: str, n: int) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    return len(lines) == len(bullets(text)) == n


def _avoids(text: str, word: str) -> bool:
    return bool(words(text)) and word.lower() not in (w.lower() for w in words(text))


def _includes(text: str, word: str) -> bool:
    return word.lower() in (w.lower() for w in words(text))


def _starts_with(text: str, phrase: str) -> bool:
    return re.match(re.escape(phrase) + r"(?!\w)", text) is not None


def _ends_with(text: str, phrase: str) -> bool:
    return re.search(r"(?<!\w)" + re.escape(phrase) + r"$", text) is not None


def _lowercase(text: str) -> bool:
    return bool(words(text)) and text == text.lower()


def _json_keys(text: str, keys: list[str]) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and set(value) == set(keys) and all(value.values())


@dataclass(frozen=True, slots=True)
class ConstraintKind:
    """A kind of constraint: its instruction, its check, and the names of its parameters."""

    instruction: str
    met: Callable[..., bool]
    params: tuple[str, ...] = ()


CONSTRAINT_KINDS: dict[str, ConstraintKind] = {
    "max_words": ConstraintKind("Use at most {n} words.", _max_words, ("n",)),
    "word_range": ConstraintKind("Use {low} to {high} words.", _word_range, ("low", "high")),
    "commas": ConstraintKind("Use exactly {n} commas.", _commas, ("n",)),
    "sentences": ConstraintKind("Write exactly {n} sentences.", _sentences, ("n",)),
    "one_sentence": ConstraintKind("Write exactly one sentence.", lambda text: _sentences(text, 1)),
    "bullets": ConstraintKind(
        'Write exactly {n} bullet points, each on a line that starts with "- ".', _bullets, ("n",)
    ),
    "avoids": ConstraintKind('Do not use the word "{word}".', _avoids, ("word",)),
    "includes": ConstraintKind('Use the word "{word}".', _includes, ("word",)),
    "starts_with": ConstraintKind('Start your answer with "{phrase}".', _starts_with, ("phrase",)),
    "ends_with": ConstraintKind('End your answer with "{phrase}".', _ends_with, ("phrase",)),
    "lowercase": ConstraintKind("Write in lowercase letters only.", _lowercase),
    "json_keys": ConstraintKind(
        "Answer only with a JSON object that has the keys {keys}.", _json_keys, ("keys",)
    ),
}


# --- quality, independent of the constraint ------------------------------------------------------


def mentions(text: str, topic: str) -> bool:
    """Return whether `text` names the topic: the last word of the topic, in singular or plural.

    "fire engines" is named by "engine", "libraries" by "library".
    """
    stem = re.sub(r"(ies|y|(?<=[hosx])es|(?<!s)s)$", "", words(topic)[-1].lower())
    named = re.compile(re.escape(stem) + r"(y|ies|e?s)?(['’]s?)?")
    return any(named.fullmatch(word.lower()) for word in words(text))


def ends_as_sentence(text: str) -> bool:
    """Return whether `text` ends with `.`, `!` or `?`, possibly followed by quotes and brackets.

    A text that ends with `}`, as a JSON object does, counts as complete too.
    """
    return re.search(r"[.!?][\"')\]”’]*$|\}$", text.strip()) is not None


def loops(text: str, size: int = 3, times: int = 3) -> bool:
    """Return whether `text` repeats itself, as in degenerate sampling.

    This is the case if a sequence of `size` words occurs at least `times` times, or if a word of four letters
    or more occurs again within three words: "versatile and versatile", "a tree is a tree".
    """
    w = [word.lower() for word in words(text)]
    runs = Counter(tuple(w[i : i + size]) for i in range(len(w) - size + 1))
    stutters = any(len(word) > 3 and word in w[i + 1 : i + 4] for i, word in enumerate(w))
    return stutters or any(count >= times for count in runs.values())


def has_enough_words(text: str, at_least: int = FEWEST_WORDS) -> bool:
    """Whether `text` has at least `at_least` words."""
    return len(words(text)) >= at_least


def mentions_task(text: str) -> bool:
    """Whether `text` mentions how to answer ("in one sentence", "15 words", "as an assistant")."""
    return re.search(r"\b(sentences?|(one|two|\d+) words|AI|assistant)\b", text, re.IGNORECASE) is not None


def quality(text: str, topic: str) -> dict[str, bool]:
    """Return the five measures of quality by name; all are True for a good answer."""
    return {
        "on_topic": mentions(text, topic),
        "complete": ends_as_sentence(text),
        "enough_words": has_enough_words(text),
        "no_loop": not loops(text),
        "no_task_talk": not mentions_task(text),
    }
