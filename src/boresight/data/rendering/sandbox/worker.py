"""Script of the process that renders templates: one request per line of stdin, one reply per line of stdout.

A rendering that exceeds its processor time ends the process by the signal of a timer. One that exceeds the
memory limit raises, if the system enforces the limit (Linux does, macOS does not).
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
from typing import Any

MEMORY = 2**30
"""Maximum address space in bytes, of which the process itself needs about a seventh."""


def render(request: dict[str, Any]) -> str:
    """Render the `messages` of a request with its `template`, as `apply_chat_template` does.

    `options` are the variables of the template: the special tokens, the tools and those in the data.

    Raises:
        jinja2.TemplateError: the template refuses the messages.
        Exception: any other error in the template.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    # Many templates print "None" for a key whose value is None, and all accept a missing key.
    messages = [{key: value for key, value in m.items() if value is not None} for m in request["messages"]]
    options = request["options"]
    rendered: Any = render_jinja_template([messages], chat_template=request["template"], **options)
    return str(rendered[0][0])


def reason(error: Exception) -> str:
    """Return the error of a template as one line."""
    from jinja2 import TemplateError

    from boresight.core.errors import first_line, named_first_line

    if isinstance(error, MemoryError):
        return f"needs more than {MEMORY / 2**30:.0f} GiB of memory"
    return first_line(error) if isinstance(error, TemplateError) else named_first_line(error)


def answer_requests() -> None:
    """Answer requests until stdin ends.

    Libraries are imported first, so that the import does not count against the time limit of a template.
    """
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
