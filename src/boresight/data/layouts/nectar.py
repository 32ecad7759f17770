"""Layout of Nectar: a `prompt`, which may be a transcript, and `answers` with a `rank` each, 1 the best.

The pair consists of the best and the worst answer.
"""

from boresight.core.schema import Preference
from boresight.data.build import assistant, preference, user
from boresight.data.columns import Record, finite_number, has_text, text
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
    ranks = [rank for answer in answers if (rank := finite_number(answer["rank"])) is not None]
    if len(ranks) < len(answers):
        raise BadField("answers", "has a rank that is no number")
    if min(ranks) == max(ranks):
        raise BadField("answers", "all have one rank, so that none is better")
    first, last = answers[ranks.index(min(ranks))], answers[len(ranks) - 1 - ranks[::-1].index(max(ranks))]
    best, worst = (check_text(answer["answer"], "answers", "an answer").strip() for answer in (first, last))
    prompt = hh_rlhf.opened(said, "prompt") if hh_rlhf.is_open(said) else [user(said)]
    return preference(record, id, (prompt, [assistant(best)], [assistant(worst)]), (COLUMNS[0], *COLUMNS))
