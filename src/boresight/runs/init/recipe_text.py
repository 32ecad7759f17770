"""A recipe as YAML with a comment beside each setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import yaml

from boresight.config.yaml_text import read_yaml
from boresight.runs.init.choices import Setting, as_recipe


def recipe_text(title: str, settings: Sequence[Setting]) -> str:
    """Return the settings as YAML with a comment beside each one.

    `title` becomes the comment at the top, with its line breaks. Names of files and models may contain any
    character: values are quoted, and comments are kept to one line.
    """
    lines, section = [_comment(line) for line in title.split("\n")], ""
    for setting in settings:
        above, _, key = setting.key.partition(".")
        if key and above != section:
            lines.append(f"{above}:")
        section = above
        entry = f"{'  ' * bool(key)}{key or above}: {_value(setting.value)}"
        lines.append(f"{entry}  # {_one_line(setting.why)}" if setting.why else entry)
    text = "\n".join(lines) + "\n"
    assert read_yaml(text, "the new recipe") == as_recipe(list(settings)), "written as it was chosen"
    return text


def _value(value: Any) -> str:
    """Return a value as one line of YAML."""
    written = yaml.safe_dump([value], default_flow_style=True, allow_unicode=False, width=math.inf)
    return written.strip()[1:-1]


def _comment(line: str) -> str:
    """Return one line of the comment at the top, with its indentation."""
    indent = len(line) - len(line.lstrip(" "))
    return f"# {' ' * indent}{_one_line(line)}".rstrip()


def _one_line(text: str) -> str:
    """Return the text without characters that end a comment in YAML, of which the line feed is only one."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
