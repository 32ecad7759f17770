"""Fix the date that a chat template prints, so that a run resumed on another day has the same tokens.

Templates call `strftime_now`, a global that transformers reads from the clock. A macro of the same name,
placed before the template, returns a fixed date: in every version of transformers and jinja, a macro takes
precedence over a global.
"""

from __future__ import annotations

import json
from datetime import date, datetime, time
from functools import cache
from typing import Any

from boresight.data.tokenizer import Tokenizer

ASKED = "strftime_now"
CODES = "-d -m -y -H -I -M -S -j a A b B c d D e F G h H I j m M p S T u U V w W x X y Y z Z"
"""Directives of strftime, the longest first."""
NOON = time(12)
"""Time of day that templates print."""


def today() -> str:
    """Return today's date as a template would print it, YYYY-MM-DD."""
    from transformers.utils.chat_template_utils import render_jinja_template

    nobody = [[{"role": "user", "content": ""}]]
    rendered: Any = render_jinja_template(nobody, chat_template="{{ strftime_now('%Y-%m-%d') }}")
    return str(rendered[0][0])


def pin_day(tokenizer: Tokenizer, day: str) -> None:
    """Make the templates of a tokenizer print the date `day`, YYYY-MM-DD."""
    vars(tokenizer)["template_day"] = day


def printed_day(tokenizer: Tokenizer) -> str | None:
    """Return the date that the templates of a tokenizer print, pinned or today's; None if they print none."""
    known = tokenizer.chat_template
    texts = known.values() if isinstance(known, dict) else [known or ""]
    if not any(ASKED in text for text in texts):
        return None
    return str(vars(tokenizer).get("template_day") or today())


def with_day(template: str, tokenizer: Tokenizer) -> str:
    """Return the template with a fixed date, pinned or today's, in place of the clock."""
    if ASKED not in template:
        return template
    return _macro(str(vars(tokenizer).get("template_day") or today())) + template


@cache
def _macro(day: str) -> str:
    noon = datetime.combine(date.fromisoformat(day), NOON)
    answers = {f"%{code}": noon.strftime(f"%{code}") for code in CODES.split()}
    replaced = "".join(
        f".replace({json.dumps(asked)}, {json.dumps(said)})" for asked, said in answers.items()
    )
    return f"{{%- macro {ASKED}(format) -%}}{{{{- (format | string){replaced} -}}}}{{%- endmacro +%}}"
