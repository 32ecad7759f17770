"""Wrong command lines as real processes: no traceback, no hang, nothing left behind, the right code."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_processes import CASES, FAST, make_folder

HANGS = 300
"""Seconds; the slowest case takes a few on a machine with nothing else to do."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "folder"
    folder.mkdir()
    make_folder(folder)
    return folder


def contents(folder: Path) -> dict[str, int]:
    """Every path below the folder with its size."""
    return {str(path.relative_to(folder)): path.lstat().st_size for path in folder.rglob("*")}


def command(case) -> str:
    words = (sys.executable, "-m", "boresight", *case.words)
    return case.shell.replace("{}", shlex.join(os.fsdecode(word) for word in words))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CASES]
)
def test_a_wrong_command_ends_in_one_sentence(name, sound, tmp_path):
    case = CASES[name]
    folder = tmp_path / "folder"
    shutil.copytree(sound, folder)
    case.change(folder)
    before = contents(folder)
    ended = subprocess.run(
        ["bash", "-c", os.fsencode(command(case))],
        cwd=folder,
        capture_output=True,
        timeout=HANGS,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TMPDIR": str(tmp_path), **case.environment},
    )
    said = ended.stderr.decode("utf-8", "replace").strip()
    assert "Traceback" not in said and "Traceback" not in ended.stdout.decode("utf-8", "replace")
    assert (ended.returncode, case.says in said) == (case.code, True), said[-1000:]
    if case.code == 2:
        assert contents(folder) == before
        usage = said.startswith("Usage: ")
        assert usage or "2>&-" in case.shell or (said.startswith("boresight: ") and "\n" not in said)
    assert not list(tmp_path.glob("boresight-error-*"))


def test_there_are_sixty():
    assert len(CASES) >= 60 and set(CASES) >= FAST
