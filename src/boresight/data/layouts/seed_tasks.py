"""Layout of Self-Instruct's tasks: `instruction`, and `instances` with one pair of input and output."""

from boresight.core.schema import Demonstration
from boresight.data.build import assistant, demonstration
from boresight.data.columns import Record, has_text, is_plain
from boresight.data.layouts.alpaca import asked
from boresight.data.reading.turns import BadField, check_text

TITLE = "Self-Instruct tasks"
KIND = "demonstration"
COLUMNS = ("instruction", "instances")


def matches(record: Record) -> bool:
    instances = isinstance(record.get("instances"), list)
    return has_text(record, "instruction") and instances and is_plain(record)


def read(record: Record, id: str) -> Demonstration:
    instances = record.get("instances")
    if not isinstance(instances, list) or not all(isinstance(one, dict) for one in instances):
        raise BadField("instances", "is not a list of inputs and outputs")
    if len(instances) != 1:
        raise BadField("instances", f"holds {len(instances)} instances; give each a row of its own")
    question = asked({"instruction": record.get("instruction"), "input": instances[0].get("input")})
    answer = check_text(instances[0].get("output"), "instances", "`output`")
    return demonstration(record, id, [question, assistant(answer)], COLUMNS)
