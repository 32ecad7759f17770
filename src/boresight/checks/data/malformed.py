"""Check for malformed rows: empty turns, answers to different prompts in one pair, damaged text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from boresight.checks.data import text
from boresight.checks.data.examples import FEWEST, Examples, said, turns_of
from boresight.core.schema import Message, Preference
from boresight.core.wording import percent
from boresight.findings.finding import Finding, error, graded


def scores_not_finite(data: Examples) -> Finding | None:
    """Return the finding `scores-not-finite` if any score is NaN or infinite, else None."""
    ids = [p.id for p in data.scored if not (_finite(p.chosen_score) and _finite(p.rejected_score))]
    if not ids:
        return None
    return error(
        "scores-not-finite",
        f"{len(ids):,} of {len(data.pairs):,} pairs have a score that is NaN or infinite, so their label has "
        "no basis.",
        "Remove these rows, or leave their scores out.",
        ids=ids,
    )


def empty_turns(data: Examples) -> Finding | None:
    """Return the finding `empty-turns` if any training example contains an empty message, else None."""
    ids = [e.id for e in data.train if any(not said([m]).strip() for m in turns_of(e))]
    if not ids:
        return None
    share = len(ids) / len(data.train)
    return graded(
        "empty-turns",
        share,
        0.05,
        f"{len(ids):,} of {len(data.train):,} examples ({percent(share)}) contain an empty turn, "
        "which trains the model to give empty answers.",
        "Remove these rows (data.bad_rows=drop drops those a reader rejects).",
        ids=ids,
    )


def prompts_differ(data: Examples) -> Finding | None:
    """Return the finding `prompts-differ` if any pair's answers reply to different turns, else None."""
    ids = [p.id for p in data.pairs if _asked_otherwise(p)]
    if not ids:
        return None
    share = len(ids) / len(data.pairs)
    return graded(
        "prompts-differ",
        share,
        0.2,
        f"In {len(ids):,} of {len(data.pairs):,} pairs ({percent(share)}) the user's turn before the "
        "chosen answer differs from that before the rejected one, so the two are not comparable.",
        "Keep only pairs that share everything but the last answer.",
        ids=ids,
    )


def template_in_text(data: Examples) -> Finding | None:
    """Return the finding `template-in-text` if at least 1 % of examples contain markers, else None.

    The markers are those of chat templates, such as `<|im_start|>`.
    """
    ids = [e.id for e in data.train if any(text.has_markers(m["content"]) for m in turns_of(e))]
    share = len(ids) / max(1, len(data.train))
    if share < 0.01:
        return None
    return graded(
        "template-in-text",
        share,
        0.2,
        f"{len(ids):,} of {len(data.train):,} examples ({percent(share)}) contain markers of a chat "
        "template, so the template would be applied twice.",
        "Store conversations as messages of plain text, and let model.chat_template write the markers.",
        ids=ids,
    )


def encoding_damage(data: Examples) -> Finding | None:
    """Return the finding `encoding-damage` if text was decoded with the wrong encoding, else None.

    At least 0.5 % of the examples must contain such characters.
    """
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


def _asked_otherwise(pair: Preference) -> bool:
    """Return whether corresponding assistant turns of the two sides of a pair follow different user turns.

    Assistant turns that only one side has are ignored.
    """
    both = zip(_asked(pair.chosen), _asked(pair.rejected), strict=False)
    return any(mine != others for mine, others in both)


def _asked(turns: Sequence[Message]) -> list[tuple[str, ...]]:
    """For each assistant turn, return the contents of the user turns before it."""
    said = [tuple(m["content"] for m in turns[:n] if m["role"] == "user") for n in range(len(turns))]
    return [before for before, m in zip(said, turns, strict=True) if m["role"] == "assistant"]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
