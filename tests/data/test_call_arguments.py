"""Arguments of calls reach every template in the form that it writes: objects, or JSON text."""

from __future__ import annotations

import pytest

from boresight.data.reading.load import read
from tests.encode import encode_demonstration
from tests.tiny import tiny_tokenizer

BEGIN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}"
END = "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
WRITES = {
    "objects, as Qwen's": "{{ c.function.arguments | tojson }}",
    "text, as DeepSeek's": "{{ '[' + c.function.arguments + ']' }}",
    "text, without a check": "{{ c.function.arguments }}",
    "both": "{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}",
    "text, a call without function": "{{ (c.function or c).arguments }}",
}
JSON = '{"room": "cellar", "deep": true}'


@pytest.mark.parametrize("given", [JSON, {"room": "cellar", "deep": True}], ids=["text", "object"])
@pytest.mark.parametrize("template", WRITES)
def test_every_template_writes_json(template, given, jsonl):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = BEGIN + WRITES[template] + END
    call = {"type": "function", "function": {"name": "temp", "arguments": given}}
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x", "tool_calls": [call]}]
    (example,) = read(jsonl({"messages": turns})).examples
    (row,) = encode_demonstration(tokenizer, example)
    (answer,) = row.completions
    text = tokenizer.decode(answer.ids[answer.mask].tolist())
    assert text.replace("[", "").replace("]", "") == f"x{JSON}<|im_end|>"


def test_words_that_look_like_python_change_nothing(jsonl):
    """The result quotes the arguments as Python does; the template still wants objects."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = BEGIN + WRITES["objects, as Qwen's"] + END
    call = {"function": {"name": "temp", "arguments": {"room": "cellar"}}}
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "called with {'room': 'cellar'}"},
        {"role": "assistant", "content": "x"},
    ]
    (example,) = read(jsonl({"messages": turns})).examples
    (row,) = encode_demonstration(tokenizer, example)
    assert '{"room": "cellar"}<|im_end|>' in tokenizer.decode(row.completions[0].ids.tolist())


def test_a_template_that_takes_neither_gives_its_reason(jsonl):
    from boresight.core.errors import UserError

    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = BEGIN + "{{ raise_exception('no calls ' + 'here') }}" + END
    call = {"function": {"name": "temp", "arguments": {"room": "cellar"}}}
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x", "tool_calls": [call]}]
    (example,) = read(jsonl({"messages": turns})).examples
    with pytest.raises(UserError, match="refuses these messages: no calls here"):
        encode_demonstration(tokenizer, example)
