"""Rows under a chat template against a reading of their own: by words that stand in one turn only.

The reference uses transformers and nothing of the package. It renders the conversation up to each
assistant's turn; what follows the generation prompt, up to the first end of turn after the turn's last word,
is to be scored.

    check_conversation(tokenizer, CASES["multi-turn"], "<|im_end|>")    "" or why the row is refused
"""

from __future__ import annotations

import json
import re
from itertools import groupby
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from boresight.core.errors import UserError
from boresight.core.schema import Demonstration
from boresight.data.chat import encode_prompt
from tests.encode import encode_demonstration
from tests.tiny import tiny_tokenizer

Messages = list[dict[str, Any]]


def user(words: str) -> dict[str, Any]:
    return {"role": "user", "content": words}


def assistant(words: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": words, **more}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weigh",
            "description": "Weigh a stone.",
            "parameters": {
                "type": "object",
                "properties": {"stone": {"type": "string"}},
                "required": ["stone"],
            },
        },
    }
]
CALL = [
    {"type": "function", "id": "abcdefghi", "function": {"name": "weigh", "arguments": {"stone": "gneiss"}}}
]
RESULT = {"role": "tool", "name": "weigh", "tool_call_id": "abcdefghi", "content": "heavy"}

CASES: dict[str, Messages] = {
    "single turn": [user("Which?"), assistant("quartz")],
    "multi-turn": [
        user("Which?"), assistant("quartz"), user("And?"), assistant("basalt"),
        user("So?"), assistant("slate"),
    ],
    "system": [{"role": "system", "content": "Be brief."}, user("Which?"), assistant("quartz")],
    "system, multi-turn": [
        {"role": "system", "content": "Be brief."},
        user("Which?"), assistant("quartz"), user("And?"), assistant("basalt"),
    ],
    "thought": [user("Which?"), assistant("quartz", reasoning_content="maybe opal")],
    "thoughts, multi-turn": [
        user("Which?"), assistant("quartz", reasoning_content="maybe opal"),
        user("And?"), assistant("basalt", reasoning_content="not marble"),
    ],
    "thoughts in the words": [
        user("Which?"), assistant("<think>\nmaybe opal\n</think>\n\nquartz"),
        user("And?"), assistant("<think>\nnot marble\n</think>\n\nbasalt"),
    ],
    "blank lines first": [user("Which?"), assistant("\n\nquartz"), user("And?"), assistant("\nbasalt")],
    "tools": [{**user("Which?"), "tools": TOOLS}, assistant("", tool_calls=CALL), RESULT, assistant("slate")],
}  # fmt: skip
WORDS = ("quartz", "basalt", "slate", "opal", "marble", "gneiss")
"""Each stands in one assistant's turn at most."""


def make_tokenizer(template: str, specials: list[str], bos: str, eos: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with these special tokens, which joins line ends as Qwen's does."""
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tiny_tokenizer("base").backend_tokenizer.to_str()),
        clean_up_tokenization_spaces=False,
        bos_token=bos,
        eos_token=eos,
        additional_special_tokens=sorted({*specials} - {bos, eos}),
    )
    made.chat_template = template
    return made


def rendered(tokenizer: PreTrainedTokenizerFast, messages: Messages, ask: bool = False) -> str:
    """As anybody renders who uses transformers; some templates want the arguments of a call as JSON text."""
    bare = [{k: v for k, v in message.items() if k != "tools"} for message in messages]
    for message in bare:  # as transformers does itself from 5.21 on
        if "reasoning_content" in message:
            message["thinking"] = message["reasoning_content"]
    options = {"tools": messages[0].get("tools"), "tokenize": False, "add_generation_prompt": ask}
    try:
        text = tokenizer.apply_chat_template(bare, **options)
        if "{'stone': 'gneiss'}" not in text:
            return text
    except TypeError:
        pass
    return tokenizer.apply_chat_template([_with_json(message) for message in bare], **options)


def _with_json(message: dict[str, Any]) -> dict[str, Any]:
    if "tool_calls" not in message:
        return message
    (call,) = message["tool_calls"]
    function = {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}
    return {**message, "tool_calls": [{**call, "function": function}]}


NO_THOUGHT = re.compile(
    r"<think>\s*</think>\s*$|<\|START_THINKING\|><\|END_THINKING\|>$|<\|channel>thought\n<channel\|>$"
)


def turn_of(tokenizer: PreTrainedTokenizerFast, messages: Messages, end: str) -> tuple[str, str]:
    """What generation sees before the last message, and what it has to write: words and end of turn."""
    context, text = rendered(tokenizer, messages[:-1], ask=True), rendered(tokenizer, messages)
    last = messages[-1]
    said = f"{last.get('reasoning_content', '')} {last['content']} {last.get('tool_calls', '')}"
    mine = [word for word in WORDS if word in said]
    # White space at its end, or an empty thought, may be part of the context only.
    for start in (context, context.rstrip(), NO_THOUGHT.sub("", context)):
        written = text.removeprefix(start)
        written = written.lstrip() if start == context.rstrip() != context else written
        if text.startswith(start) and all(word in written for word in mine):
            after = max(written.rindex(word) + len(word) for word in mine)
            return context, written[: written.index(end, after) + len(end)]
    if len(messages) > 2 and messages[-2]["role"] == "user":  # earlier turns are written otherwise
        return context, turn_of(tokenizer, messages[-2:], end)[1]
    # The template drops thoughts from every turn: they follow what the generation prompt opens.
    opened = "<think>\n" if context.endswith("<think>\n") else ""
    return context, last["content"].removeprefix(opened) + end


def check_conversation(tokenizer: PreTrainedTokenizerFast, messages: Messages, end: str) -> str:
    """Compare the package's rows with the reference; returns why it makes none, or nothing.

    Raises:
        AssertionError: a row is wrong.
    """
    try:
        rows = encode_demonstration(tokenizer, Demonstration(messages, "row"))
    except UserError as refusal:
        return str(refusal)
    places = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
    turns = [turn_of(tokenizer, messages[: n + 1], end) for n in places]
    for n, (context, _) in zip(places, turns, strict=True):
        assert tokenizer.decode(encode_prompt(tokenizer, messages[:n])) == context
    texts = [context + scored for context, scored in turns]
    whole = texts[-1]
    together = all(whole.startswith(text) for text in texts)
    assert len(rows) == (1 if together else len(turns))
    found = [_runs(tokenizer, row) for row in rows]
    if together:
        assert tokenizer.decode([*rows[0].prompt, *rows[0].completions[0].ids]) == whole
        assert found == [(turns[0][0], [scored for _, scored in turns])]
    else:
        assert found == [(context, [scored]) for context, scored in turns]
        assert all(row.completions[0].mask.all() for row in rows)
    return ""


def _runs(tokenizer: PreTrainedTokenizerFast, row: Any) -> tuple[str, list[str]]:
    """The prompt as text, and every run of scored tokens."""
    (completion,) = row.completions
    pairs = zip(completion.mask.tolist(), completion.ids.tolist(), strict=True)
    runs = [[id for _, id in run] for scored, run in groupby(pairs, key=lambda pair: pair[0]) if scored]
    return tokenizer.decode(row.prompt), [tokenizer.decode(run) for run in runs]
