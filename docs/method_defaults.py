"""Write the table of settings in docs/methods.md from the methods' own `Config` classes.

python docs/method_defaults.py
"""

from __future__ import annotations

from pathlib import Path

import yaml

from boresight import methods

PAGE = Path(__file__).with_name("methods.md")
START, END = "<!-- settings: written by docs/method_defaults.py -->\n", "<!-- end of settings -->"


def shown(default: object) -> str:
    """A default as it is written in a recipe."""
    return yaml.safe_dump(default).splitlines()[0]


def table() -> str:
    """One line per setting of every method."""
    lines = ["| method | setting | default | meaning |", "|---|---|---|---|"]
    for name in methods.names():
        for setting, info in methods.get(name).Config.model_fields.items():
            meaning = " ".join((info.description or "").split()).replace("|", "\\|")
            lines.append(f"| `{name}` | `{setting}` | `{shown(info.default)}` | {meaning} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """docs/methods.md with the table as it is now."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    return before + START + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
