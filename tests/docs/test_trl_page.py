"""docs/trl.md lists every option as the conversion treats it."""

from __future__ import annotations

import importlib.util

from boresight.conversion.trl_options import renamed_options, trl_fields, trl_options
from tests.docs.snippets import ROOT


def test_the_tables_are_those_of_the_conversion():
    """Otherwise: python docs/trl_options.py."""
    spec = importlib.util.spec_from_file_location("trl_options", ROOT / "docs/trl_options.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    assert module.page() == page
    options = {name for fields in trl_fields().values() for name in fields} | trl_options().keys()
    tables = page.split(module.START)[1]
    assert [name for name in options | renamed_options().keys() if f"`{name}`" not in tables] == []
