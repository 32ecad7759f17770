"""Every method has its page, and tables and figures are those of the code."""

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


@pytest.mark.parametrize("name", methods.names())
def test_table_of_settings_is_current(name):
    page = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    assert script("method_defaults.py").page(name) == page, "run docs/method_defaults.py"


def test_figure_of_all_is_current():
    figure = script("figures/loss_vs_margin.py")
    assert figure.svg() == figure.SVG.read_text(encoding="utf-8"), "run docs/figures/loss_vs_margin.py"


def test_every_method_has_its_figure_and_it_is_current(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    drawing = script("figures/method_figures.py")
    assert set(drawing.FIGURES) == set(methods.names())
    for name, figure in drawing.FIGURES.items():
        drawn = (drawing.FOLDER / f"{name}.svg").read_text(encoding="utf-8")
        assert drawing.svg(figure) == drawn, "run docs/figures/method_figures.py"


@pytest.mark.parametrize("name", methods.names())
def test_every_method_has_a_page_with_equation_paper_defaults_omissions_and_figure(name):
    page = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    assert "```math" in page
    assert "*Left out:*" in page
    assert f"(../figures/{name}.svg)" in page
    assert "## Train with it" in page and "## What to watch" in page
    if methods.get(name).Config.model_fields:
        assert "*Defaults:*" in page
    overview = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert f"(methods/{name}.md)" in overview
