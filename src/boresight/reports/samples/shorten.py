"""Shorten long prompts and answers in a page, so that it stays below a megabyte; files keep the whole texts.

Two answers of a megabyte each made a page of 2.1 MB, which a browser opens slowly and mail refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from jinja2.utils import htmlsafe_json_dumps

BUDGET = 500_000
"""Maximum number of bytes of all texts together, as written into the page; the rest of a page takes less."""
LONGEST, SHORTEST = 64_000, 1_000
"""Maximum and minimum of the length, in characters, at which texts are cut; the more texts, the shorter."""


def fit_on_page(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Shorten the texts of samples so that all together fit into `BUDGET` bytes.

    All texts of a page are cut at the same length, which is at least `SHORTEST` characters. The returned
    samples have two more entries: `left_out`, the number of characters cut from each answer, and `same`,
    whether all answers are equal before the cut. Shortened prompts and notes end with the number of
    characters that were cut.
    """
    limit = LONGEST
    while limit > SHORTEST and _bytes(samples, limit) > BUDGET:
        limit = max(SHORTEST, limit // 2)
    return [_cut(sample, limit) for sample in samples]


def shortened_sentence(samples: Sequence[Mapping[str, Any]], files: str) -> str:
    """Return a sentence with the number of shortened answers; '' if there are none.

    Args:
        files: names of the files with the whole texts.
    """
    lacking = sum(count > 0 for sample in samples for count in sample["left_out"])
    if not lacking:
        return ""
    which = "1 long answer is" if lacking == 1 else f"{lacking:,} long answers are"
    return f"{which} shortened on this page; {files} has the whole text."


def _texts(sample: Mapping[str, Any]) -> Iterator[str]:
    answers = (answer for answer in sample["answers"] if answer is not None)
    notes = (said for _, said in sample.get("notes") or ())
    return chain((message["content"] for message in sample["prompt"]), answers, notes)


def _bytes(samples: Sequence[Mapping[str, Any]], limit: int) -> int:
    """Return the size in bytes of all texts in the page, each cut at `limit` characters."""
    return sum(len(htmlsafe_json_dumps(text[:limit])) for sample in samples for text in _texts(sample))


def _cut(sample: Mapping[str, Any], limit: int) -> dict[str, Any]:
    answers: list[str | None] = sample["answers"]
    found = {
        "prompt": [
            {**message, "content": _marked(message["content"], limit)} for message in sample["prompt"]
        ],
        "answers": [None if answer is None else answer[:limit] for answer in answers],
        "left_out": [0 if answer is None else max(0, len(answer) - limit) for answer in answers],
        "same": None not in answers and len(set(answers)) == 1,
    }
    if sample.get("notes"):
        found["notes"] = [(title, _marked(said, limit)) for title, said in sample["notes"]]
    return {**sample, **found}


def _marked(text: str, limit: int) -> str:
    """Return the text; if it is too long, its beginning and the number of characters that were cut."""
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit:,} characters left out]"
