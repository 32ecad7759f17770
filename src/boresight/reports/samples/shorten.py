"""Shorten long prompts and answers in a page, so that it stays below a megabyte; files keep the whole.

Two answers of a megabyte each made a page of 2.1 MB, which a browser opens slowly and mail refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from jinja2.utils import htmlsafe_json_dumps

BUDGET = 500_000
"""Bytes of all texts together, as they are written into the page; the rest of a page takes less."""
LONGEST, SHORTEST = 64_000, 1_000
"""Characters at which a text is cut: at most, and at least, however many texts there are."""


def fit_on_page(samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Samples whose texts fit into `BUDGET`, or are at most `SHORTEST` characters long.

    All texts of a page are cut at one length. The returned samples have `left_out`, the characters that each
    answer lacks, and `same`, whether all whole answers are equal; prompts and notes end in the number of
    characters that they lack.
    """
    limit = LONGEST
    while limit > SHORTEST and _bytes(samples, limit) > BUDGET:
        limit = max(SHORTEST, limit // 2)
    return [_cut(sample, limit) for sample in samples]


def shortened_sentence(samples: Sequence[Mapping[str, Any]], files: str) -> str:
    """How many answers are shortened and which `files` have the whole; '' where none is."""
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
    """Size of all texts in the page, each cut at `limit` characters."""
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
    """The text, or its beginning and the number of characters that are missing."""
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit:,} characters left out]"
