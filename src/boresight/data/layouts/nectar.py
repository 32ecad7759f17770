"""Nectar: a `prompt`, which may be a transcript, and `answers` with a `rank` each, 1 the best.

The pair is the best answer and the worst one.
"""

from boresight.core.schema import Preference
from boresight.data.build import assistant, preference, user
from boresight.data.columns import Record, has_text, is_number, text
from boresight.data.layouts import hh_rlhf
from boresight.data.reading.turns import BadField, check_text

TITLE = "ranked answers, the best against the worst"
KIND = "preference"
COLUMNS = ("prompt", "answers")


def matches(record: Record) -> bool:
    answers = record.get("answers")
    return (
        has_text(record, "prompt") and isinstance(answers, list) and bool(answers) and _is_ranked(answers[0])
    )


def _is_ranked(answer: object) -> bool:
    return isinstance(answer, dict) and "answer" in answer and "rank" in answer


def read(record: Record, id: str) -> Preference:
    said, answers = text(record, "prompt"), record.get("answers")
    if not isinstance(answers, list) or len(answers) < 2 or not all(map(_is_ranked, answers)):
        raise BadField("answers", "is not a list of two or more answers with a rank each")
    if not all(is_number(answer["rank"]) for answer in answers):
        raise BadField("answers", "has a rank that is no number")
    ranked = sorted(answers, key=lambda answer: answer["rank"])
    if ranked[0]["rank"] == ranked[-1]["rank"]:
        raise BadField("answers", "all have one rank, so that none is better")
    best, worst = (check_text(ranked[n]["answer"], "answers", "an answer").strip() for n in (0, -1))
    prompt = hh_rlhf.opened(said, "prompt") if hh_rlhf.is_open(said) else [user(said)]
    return preference(record, id, (prompt, [assistant(best)], [assistant(worst)]), (COLUMNS[0], *COLUMNS))
