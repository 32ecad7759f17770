"""The sections of findings, in the package and through `boresight explain FINDING`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from boresight.cli.main import app
from boresight.core.errors import UserError
from boresight.findings.page import PROSE, is_finding, names, section


def test_a_link_is_printed_as_its_words():
    assert "](" not in "".join(section(name) for name in names())
    assert section("identical-pairs").startswith("Both answers are the same up to white space.")


def test_sections_of_prose_belong_to_no_finding():
    assert not set(PROSE) & set(names())


def test_a_name_that_is_almost_right_is_named():
    assert is_finding("length-leak") and not is_finding("runs")
    with pytest.raises(UserError, match=r"^length-leek: neither .* did you mean 'length-leak'\?$"):
        is_finding("length-leek")


def test_explain_prints_the_section_of_a_finding():
    done = CliRunner().invoke(app, ["explain", "identical-pairs"])
    assert done.exit_code == 0
    assert " ".join(done.output.split()) == "identical-pairs " + " ".join(section("identical-pairs").split())


def test_a_folder_of_that_name_is_read_as_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "identical-pairs").mkdir()
    done = CliRunner().invoke(app, ["explain", "identical-pairs"])
    assert done.exit_code and "Both answers are the same" not in done.output
