"""Worker processes."""

from __future__ import annotations

from boresight.experiments.engine.processes import start


def test_files_of_the_current_folder_stand_in_for_no_package(tmp_path, monkeypatch):
    """`python -m` would import the `argparse.py` beside the data in place of Python's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "argparse.py").write_text("raise SystemExit(9)\n")
    (tmp_path / "some.json").write_text("{}\n")
    assert start("json.tool", tmp_path / "some.json", 0, 1).wait(timeout=60) == 0
