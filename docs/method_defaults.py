"""Write the table of settings on every page of docs/methods/ from the methods' own `Config` classes.

python docs/method_defaults.py
"""

from __future__ import annotations

from pathlib import Path

import yaml

from boresight import methods

PAGES = Path(__file__).with_name("methods")
START, END = "<!-- settings: written by docs/method_defaults.py -->\n", "<!-- end of settings -->"


def shown(default: object) -> str:
    """A default as it is written in a recipe."""
    return yaml.safe_dump(default).splitlines()[0]


def table(name: str) -> str:
    """One line per setting of the method."""
    settings = methods.get(name).Config.model_fields
    if not settings:
        return "None.\n"
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for setting, info in settings.items():
        meaning = " ".join((info.description or "").split()).replace("|", "\\|")
        lines.append(f"| `{setting}` | `{shown(info.default)}` | {meaning} |")
    return "\n".join(lines) + "\n"


def page(name: str) -> str:
    """docs/methods/NAME.md with the table as it is now."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    before, rest = text.split(START)
    return before + START + table(name) + END + rest.split(END)[1]


if __name__ == "__main__":
    for method in methods.names():
        (PAGES / f"{method}.md").write_text(page(method), encoding="utf-8")
