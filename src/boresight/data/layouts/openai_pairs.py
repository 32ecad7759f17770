"""Layout of OpenAI's files for preference fine-tuning: prompt and tools in `input`, and two outputs.

    {"input": {"messages": […], "tools": [], "parallel_tool_calls": true},
     "preferred_output": [{"role": "assistant", "content": …}], "non_preferred_output": […]}

Format: https://developers.openai.com/api/docs/guides/direct-preference-optimization. An output may contain
tool calls and their results before the answer. Keys of `input` are treated as columns: `tools` are passed to
the chat template, and others, such as `parallel_tool_calls`, are stored in `meta`.
"""

from boresight.core.schema import Preference
from boresight.data.build import preference
from boresight.data.columns import Record, from_json, has_turns
from boresight.data.reading.turns import BadField, to_messages

TITLE = "OpenAI preference fine-tuning pairs"
KIND = "preference"
COLUMNS = ("input", "preferred_output", "non_preferred_output")
MESSAGES = "messages"


def matches(record: Record) -> bool:
    if not has_turns(record, *COLUMNS[1:]):
        return False
    asked = from_json(record.get("input"))
    return isinstance(asked, dict) and has_turns(asked, MESSAGES)


def read(record: Record, id: str) -> Preference:
    asked = from_json(record.get("input"))
    if not isinstance(asked, dict):
        what = "is missing" if asked is None else f"is {type(asked).__name__}, not an object"
        raise BadField("input", what)
    prompt = to_messages(asked.get(MESSAGES), f"input.{MESSAGES}")
    chosen, rejected = (to_messages(record.get(column), column) for column in COLUMNS[1:])
    beside = {key: value for key, value in asked.items() if key != MESSAGES and value is not None}
    return preference({**record, **beside}, id, (prompt, chosen, rejected), COLUMNS)
