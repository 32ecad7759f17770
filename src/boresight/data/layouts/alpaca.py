"""Alpaca: `instruction`, optional `input`, `output`; LLaMA-Factory's `system` and `history` as well.

Instruction and input become one user turn, a blank line between them.
"""

from boresight.core.schema import Demonstration, Message
from boresight.data.build import assistant, demonstration, user
from boresight.data.columns import Record, has_text, is_plain, optional_text, text
from boresight.data.reading.turns import BadField, check_text

TITLE = "Alpaca instructions and outputs"
KIND = "demonstration"
COLUMNS = ("instruction", "output")
OPTIONAL = ("input", "history")


def matches(record: Record) -> bool:
    return has_text(record, "instruction", "output") and is_plain(record)


def read(record: Record, id: str) -> Demonstration:
    return demonstration(record, id, [*asked(record), assistant(text(record, "output"))], COLUMNS, OPTIONAL)


def asked(record: Record) -> list[Message]:
    """Earlier rounds, and the instruction with its input.

    Raises:
        BadField: the instruction is missing or empty, or the history is not a list of pairs.
    """
    instruction, given = text(record, "instruction"), optional_text(record, "input")
    last = user(f"{instruction.rstrip()}\n\n{given}" if given else instruction)
    return [*_rounds(record.get("history") or []), last]


def _rounds(history: object) -> list[Message]:
    pairs = history if isinstance(history, list) else [None]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise BadField("history", "is not a list of [question, answer] pairs")
    texts = [[check_text(said, "history", f"round {n}") for said in pair] for n, pair in enumerate(pairs, 1)]
    return [message for question, answer in texts for message in (user(question), assistant(answer))]
