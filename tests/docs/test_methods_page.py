"""docs/methods.md speaks of every method, and its table and figure are those of the code."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from boresight import methods

DOCS = Path(__file__).parents[2] / "docs"


def script(path: str) -> ModuleType:
    """A script of docs/, loaded without running it."""
    name = f"docs_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, DOCS / path)
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_of_settings_is_current():
    assert script("method_defaults.py").page() == (DOCS / "methods.md").read_text(encoding="utf-8")


def test_figure_is_current():
    figure = script("figures/loss_vs_margin.py")
    assert figure.svg() == figure.SVG.read_text(encoding="utf-8"), "run docs/figures/loss_vs_margin.py"


@pytest.mark.parametrize("name", methods.names())
def test_every_method_has_a_section_with_defaults_paper_and_omissions(name):
    section = (DOCS / "methods.md").read_text(encoding="utf-8").split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert "```math" in section
    assert "*Left out:*" in section
    if methods.get(name).Config.model_fields:
        assert "*Defaults:*" in section
