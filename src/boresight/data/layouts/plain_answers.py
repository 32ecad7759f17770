"""Layout of a prompt and its answer as strings, under the names that public data sets use.

If there is no `completion`, the column `answer` is the answer to imitate. Beside a `completion`, it is the
reference answer of a verifier and is stored in `meta`.
"""

from boresight.core.schema import Demonstration
from boresight.data.build import assistant, demonstration, user
from boresight.data.columns import Record, first, has_text, is_plain, lacks, text
from boresight.data.layouts import question_answer
from boresight.data.reading import names

TITLE = "plain-string prompts and answers"
KIND = "demonstration"
COLUMNS = ("prompt", "completion")


def matches(record: Record) -> bool:
    prompt = first(record, names.PROMPT)
    if prompt is None or not is_plain(record):
        return False
    if prompt == "question" and question_answer.matches(record):
        return False
    if prompt != "prompt" and not lacks(record, (*names.CONVERSATION, "instruction")):
        return False
    answers = [column for column in names.COMPLETION if column in record]
    return len(answers) == 1 and has_text(record, *answers) if answers else has_text(record, names.GOLD)


def read(record: Record, id: str) -> Demonstration:
    prompt = first(record, names.PROMPT) or COLUMNS[0]
    answers = [column for column in (*names.COMPLETION, names.GOLD) if column in record]
    answer = answers[0] if answers else COLUMNS[1]
    messages = [user(text(record, prompt)), assistant(text(record, answer))]
    return demonstration(record, id, messages, (prompt, answer))
