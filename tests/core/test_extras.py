"""Packages of extras are imported where they are used, and one that is absent is named with its extra."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from boresight.core.errors import UserError
from boresight.core.plugins import import_extra, is_installed
from boresight.data.reading.load import read
from boresight.data.write import write_examples

LAZY = ("datasets", "gguf", "pyarrow")


@pytest.fixture
def without(monkeypatch):
    """Hide a package, as if it were not installed."""

    def hide(package: str) -> None:
        for name in [*sys.modules, package]:
            if name.partition(".")[0] == package:
                monkeypatch.setitem(sys.modules, name, None)

    return hide


def test_nothing_but_their_use_imports_them():
    """What a training run, its checks, its page and the other verbs import."""
    verbs = ["runs.train", "runs.check.preflight", "runs.evaluate", "reports.page", "runs.doctor", "api"]
    modules = ", ".join(f"boresight.{verb}" for verb in (*verbs, "models.load", "models.embedded.starter"))
    code = f"import sys, {modules}; print([name for name in {LAZY} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("source", ["rows.parquet", "saved", "owner/name"])
def test_data_that_need_datasets_say_so(source, tmp_path, monkeypatch, without):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/dataset_info.json").write_text("{}")
    without("datasets")
    without("pyarrow")
    says = rf"^{source}: .*needs the package (datasets|pyarrow); run `pip install 'boresight\[datasets\]'`\.$"
    with pytest.raises(UserError, match=says):
        read(source)


def test_other_data_need_nothing(tmp_path, without):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "Name a color.", "chosen": "Blue.", "rejected": "No."}) + "\n")
    without("datasets")
    without("pyarrow")
    examples = read(rows).examples
    with pytest.raises(UserError, match=r"out\.parquet: needs the package pyarrow; .*boresight\[datasets\]"):
        write_examples(examples, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_package_that_lacks_another_one_is_no_missing_extra(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        import_extra("half_installed", "dedup", "x")


def test_a_folder_of_a_packages_name_is_no_package(tmp_path, monkeypatch):
    """`./wandb/` is what its runs leave behind; Python imports it as a namespace."""
    (tmp_path / "wandbox").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("wandbox") is not None
    assert not is_installed("wandbox") and not is_installed("absent_package") and is_installed("json")
    with pytest.raises(
        UserError, match=r"^x: needs the package wandbox; run `pip install 'boresight\[y\]'`\.$"
    ):
        import_extra("wandbox", "y", "x")
