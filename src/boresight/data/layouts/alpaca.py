"""Layout of Alpaca: the columns `instruction`, `output` and optionally `input`.

Instruction and input become one user turn, separated by a blank line.
"""

from boresight.core.schema import Demonstration, Message
from boresight.data.build import assistant, demonstration, user
from boresight.data.columns import Record, has_text, is_plain, optional_text, text

TITLE = "Alpaca instructions and outputs"
KIND = "demonstration"
COLUMNS = ("instruction", "output")
OPTIONAL = ("input",)


def matches(record: Record) -> bool:
    return has_text(record, "instruction", "output") and is_plain(record)


def read(record: Record, id: str) -> Demonstration:
    return demonstration(record, id, [asked(record), assistant(text(record, "output"))], COLUMNS, OPTIONAL)


def asked(record: Record) -> Message:
    """Return the instruction and its input as a message of the user.

    Raises:
        BadField: the instruction is missing or empty.
    """
    instruction, given = text(record, "instruction"), optional_text(record, "input")
    return user(f"{instruction.rstrip()}\n\n{given}" if given else instruction)
