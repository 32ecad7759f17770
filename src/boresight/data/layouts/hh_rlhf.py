"""Layout of Anthropic's HH-RLHF: whole transcripts in `chosen` and `rejected`.

A transcript is "\\n\\nHuman: …\\n\\nAssistant: …". A turn begins where a paragraph begins with "Human:" or
"Assistant:"; the same words inside a line are part of the text. A pair may differ in its last answer only: in
the original data both transcripts come from one dialogue, so pairs that differ earlier are malformed.

Some copies have the transcript up to the last "Assistant:" in `prompt`, and the plain answers in the other
two columns.
"""

import re

from boresight.core.schema import Message, Preference
from boresight.data.build import assistant, preference
from boresight.data.columns import Record, has_text, text
from boresight.data.reading.turns import BadField, check_text, split_pair

TITLE = "HH-RLHF transcripts, implicit prompt"
KIND = "preference"
COLUMNS = ("chosen", "rejected")

TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
OPEN_END = re.compile(r"\n\nAssistant:\s*\Z")
ROLE = {"Human": "user", "Assistant": "assistant"}


def matches(record: Record) -> bool:
    if not has_text(record, "chosen", "rejected"):
        return False
    if "prompt" in record:
        return has_text(record, "prompt") and is_open(record["prompt"])
    return _is_transcript(record["chosen"]) and _is_transcript(record["rejected"])


def _is_transcript(value: str) -> bool:
    return value.lstrip().startswith("Human:")


def is_open(value: str) -> bool:
    """Whether a transcript ends with an empty turn of the assistant."""
    return _is_transcript(value) and OPEN_END.search(value) is not None


def read(record: Record, id: str) -> Preference:
    if "prompt" in record:
        return _beside(record, id)
    chosen, rejected = (transcript(text(record, column), column) for column in COLUMNS)
    turns = split_pair(chosen, rejected)
    if len(turns[1]) > 1 or len(turns[2]) > 1:
        raise BadField("rejected", f"parts from `chosen` at turn {len(turns[0]) + 1}, before the last answer")
    return preference(record, id, turns, COLUMNS)


def _beside(record: Record, id: str) -> Preference:
    prompt = opened(text(record, "prompt"), "prompt")
    chosen, rejected = ([assistant(text(record, column).strip())] for column in COLUMNS)
    return preference(record, id, (prompt, chosen, rejected), ("prompt", *COLUMNS))


def opened(value: str, field: str) -> list[Message]:
    """Return the messages of a transcript that ends with an empty turn of the assistant.

    Raises:
        BadField: as `transcript` does.
    """
    return transcript(OPEN_END.sub("", value), field)


def transcript(value: str, field: str) -> list[Message]:
    """Return the messages of a transcript, without the white space around each turn.

    Raises:
        BadField: there is text before the first turn, or a turn is empty.
    """
    opening, *rest = TURN.split(value)
    if opening.strip() or not rest:
        raise BadField(field, "does not begin with 'Human:'")
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return [
        {"role": ROLE[name], "content": check_text(said, field, f"turn {n} ({name})").strip()}
        for n, (name, said) in enumerate(pairs, 1)
    ]
