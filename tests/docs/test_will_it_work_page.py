"""The page on forecasts shows what was measured."""

from __future__ import annotations

import re
import sys

from boresight.config.guard import GuardSection
from tests.docs.test_methods_page import DOCS, script


def test_the_figure_of_the_ramp_is_current(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(DOCS / "figures"), *sys.path])
    figure = script("figures/ramp.py")
    assert figure.svg() == figure.SVG.read_text(encoding="utf-8"), "run docs/figures/ramp.py"


def test_the_table_of_bounds_has_every_field_and_its_default():
    page = (DOCS / "will-it-work.md").read_text(encoding="utf-8")
    table = page[page.index("| `train.guard` |") : page.index("Bounds on endings")]
    for name, field in GuardSection.model_fields.items():
        row = next(line for line in table.splitlines() if f"`{name}`" in line)
        shown = float(re.search(r"\d+(\.\d+)?", row.split("|")[2])[0])
        assert shown in (field.default, round(100 * field.default))
