"""Write the tables of options and losses on docs/trl.md from the tables that the conversion uses.

python docs/trl_options.py
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from boresight.config.section import in_yaml
from boresight.conversion.methods import AVERAGES, DPO_LOSSES
from boresight.conversion.trl_options import (
    HEADINGS,
    OptionGroup,
    TrlOption,
    other_fields,
    renamed_options,
    trl_fields,
    trl_options,
)

PAGE = Path(__file__).with_name("trl.md")
START, END = "<!-- options: written by docs/trl_options.py -->\n", "<!-- end of options -->"


def page() -> str:
    """docs/trl.md with the tables as they are now."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    return before + START + "\n".join(tables()) + "\n" + END + rest.split(END)[1]


def tables() -> Iterator[str]:
    """The four lists, then names of earlier versions, then losses."""
    for group in ("same", "differs"):
        rows = ((f"`{name}`", trainers(name), here(o), o.note) for name, o in of(group))
        yield from table(HEADINGS[group], ("TRL", "trainers", "here", ""), rows)
    rest = sorted((f"`{name}`", o.note) for name, o in of("unneeded"))
    reasons = {why: [name for name, reason in rest if reason == why] for _, why in rest}
    rows = ((", ".join(names), why) for why, names in reasons.items())
    yield from table(HEADINGS["unneeded"], ("TRL", "why"), rows)
    rows = ((f"`{name}`", trainers(name), values(o), o.note) for name, o in of("missing"))
    yield from table(HEADINGS["missing"], ("TRL", "trainers", "accepted values", "here"), rows)
    old = sorted(renamed_options().items())
    rows = ((f"`{name}`", f"`{new}`") for name, new in old)
    yield from table("Names of earlier versions", ("name", "read as"), rows)
    yield from table("Losses", ("TRL", "`loss_type`", "here"), losses())


def table(title: str, heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A heading and a Markdown table."""
    heads = tuple(heads)
    yield from ("", f"### {title}", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads))
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def of(group: OptionGroup) -> list[tuple[str, TrlOption]]:
    """Options of a group, by name."""
    return sorted((name, option) for name, option in trl_options().items() if option.group == group)


def trainers(name: str) -> str:
    """Trainers that have an option: `all`, their names, or what else has it."""
    found = [trainer for trainer, fields in trl_fields().items() if name in fields]
    if name in other_fields():
        return "launcher or earlier versions"
    return "all" if len(found) == len(trl_fields()) else ", ".join(found)


def here(option: TrlOption) -> str:
    """Keys of a recipe as code."""
    plain = option.here.startswith("`") or not option.here
    return option.here or "–" if plain else ", ".join(f"`{key}`" for key in option.here.split(", "))


def values(option: TrlOption) -> str:
    """Values as they are written in YAML."""
    return ", ".join(f"`{in_yaml(value) if value != [] else '[]'}`" for value in option.harmless)


def losses() -> Iterator[tuple[str, str, str]]:
    """Every loss that has a counterpart, and the settings that stand for it."""
    for loss, settings in DPO_LOSSES.items():
        more = "".join(f", `{key}: {in_yaml(value)}`" for key, value in settings.items())
        yield "dpo", f"`{loss}`", f"`method.name: dpo`{more}"
    yield "dpo", "`ipo`", "`method.name: ipo`, `method.reduction: mean`; `beta` is `method.tau`"
    yield "dpo", "`sft` beside one of them", "`method.sft_weight`"
    for loss, average in AVERAGES.items():
        yield "grpo", f"`{loss}`", f"`method.name: grpo`, `method.average: {average}`"
    yield "cpo", "`simpo`, with `cpo_alpha: 0`", "`method.name: simpo`"
    yield "sft", "`nll`", "`method.name: sft`"
    yield "kto", "`kto`", "`method.name: kto`"
    yield "online_dpo, xpo", "`sigmoid`", "`method.name: online_dpo`, `method.name: xpo`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
