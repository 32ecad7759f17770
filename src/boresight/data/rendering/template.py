"""Render messages with a chat template as a black box, or raise its error."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from boresight.core.errors import terminal_safe
from boresight.core.schema import Message
from boresight.data.reading.message_keys import OF_CONVERSATION, THOUGHTS
from boresight.data.rendering.call_arguments import argument_objects, arguments_as_text, prints_python
from boresight.data.rendering.clock import with_day
from boresight.data.rendering.sandbox.plain import only_joins
from boresight.data.rendering.sandbox.process import PROCESS, RenderingFailed
from boresight.data.rendering.sandbox.worker import reason, render
from boresight.data.tokenizer import Tokenizer

NOT_RENDERED = (*OF_CONVERSATION, "weight")
"""Keys of a message that are not passed to the template as part of the message."""
LONGEST_REASON = 200
"""Maximum length of a quoted error of a template, in characters; the text of a template is untrusted."""


class TemplateRefusal(Exception):
    """The template cannot render these messages; the message is its error as one printable line."""


def render_messages(tokenizer: Tokenizer, messages: Sequence[Message], *, ask: bool = False) -> str:
    """Render messages with the chat template; `ask` appends the generation prompt.

    The arguments of tool calls are passed as objects, or as JSON text if the template cannot render objects.

    Raises:
        TemplateRefusal: any error in the template, which is a program that came with the model.
    """
    options = messages[0].get("chat_template_kwargs", {}) if messages else {}
    tools = messages[0].get("tools") if messages else None
    turns = [_rendered_keys(message) for message in messages]
    write = partial(_write, tokenizer, {**options, "tools": tools, "add_generation_prompt": ask})
    arguments = argument_objects(turns)
    if not arguments:
        return write(turns)
    try:
        text = write(turns)
    except TemplateRefusal as refusal:
        with contextlib.suppress(TemplateRefusal):
            return write(arguments_as_text(turns))
        raise refusal from None
    if not prints_python(text, arguments):
        return text
    other = write(arguments_as_text(turns))
    return text if prints_python(other, arguments) else other


def _rendered_keys(message: Message) -> Message:
    """Return the keys of a message that the template receives.

    Reasoning is passed under both names that templates use, as transformers does from version 5.21 on.
    """
    kept: dict[str, Any] = {key: value for key, value in message.items() if key not in NOT_RENDERED}
    thought = next((kept[name] for name in THOUGHTS if kept.get(name) is not None), None)
    if thought is not None:
        kept = {"thinking": thought, **kept, "reasoning_content": thought}
    return cast("Message", kept)


def _write(tokenizer: Tokenizer, options: dict[str, Any], turns: Sequence[Message]) -> str:
    if not turns:
        raise TemplateRefusal("there are no messages")
    try:
        template = with_day(tokenizer.get_chat_template(tools=options["tools"]), tokenizer)
        variables = {**tokenizer.special_tokens_map, **options}
        if only_joins(template):
            return render({"template": template, "messages": turns, "options": variables})
        return PROCESS.render(template, list(turns), variables)
    except RenderingFailed as error:
        raise TemplateRefusal(_quotable(str(error))) from error
    except Exception as error:
        raise TemplateRefusal(_quotable(reason(error))) from error


def _quotable(reason: str) -> str:
    """Return the reason with unprintable characters escaped, truncated if it is long."""
    shown = terminal_safe(reason)
    return shown if len(shown) <= LONGEST_REASON else f"{shown[:LONGEST_REASON]}…"
