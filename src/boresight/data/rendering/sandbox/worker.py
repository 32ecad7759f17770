"""The process that renders templates for `process`: one request per line of stdin, one reply on stdout.

A rendering that runs over its processor time ends the process, by the signal of a timer. One that needs more
memory than is left raises, where the system enforces the limit (Linux does, macOS does not).
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
from typing import Any

MEMORY = 2**30
"""Bytes of address space, of which the process itself takes about a seventh."""


def render(request: dict[str, Any]) -> str:
    """The text of a request's `messages` in its `template`, as `apply_chat_template` writes it.

    `options` are the template's variables: the special tokens, the tools and those in the data.

    Raises:
        jinja2.TemplateError: the template refuses the messages.
        Exception: anything else that goes wrong in the template.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    # Many templates write "None" for a key without a value, and all of them take a missing one.
    messages = [{key: value for key, value in m.items() if value is not None} for m in request["messages"]]
    options = request["options"]
    rendered: Any = render_jinja_template([messages], chat_template=request["template"], **options)
    return str(rendered[0][0])


def reason(error: Exception) -> str:
    """The error of a template as one line."""
    from jinja2 import TemplateError

    from boresight.core.errors import first_line, named_first_line

    if isinstance(error, MemoryError):
        return f"needs more than {MEMORY / 2**30:.0f} GiB of memory"
    return first_line(error) if isinstance(error, TemplateError) else named_first_line(error)


def answer_requests() -> None:
    """Answer requests until stdin ends. Imports come first, so that their time does not count against a
    template's limit."""
    import transformers.utils.chat_template_utils  # noqa: F401

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        reply = _reply(request)
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(reply.encode() + b"\n")
        sys.stdout.buffer.flush()


def _reply(request: dict[str, Any]) -> str:
    try:
        text = render(request)
        if len(text) > request["longest"]:
            return json.dumps({"refused": f"writes {len(text):,} characters"})
        return json.dumps({"text": text})
    except Exception as error:
        return json.dumps({"refused": reason(error)})


if __name__ == "__main__":
    answer_requests()
