"""Facts about versions and machine: the commit is that of this source tree or of none."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from boresight.runs import environment
from boresight.runs.environment import environment as facts

ROOT = Path(__file__).parents[2]


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", folder, *names, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_the_users_repository_is_not_taken_for_that_of_the_package(tmp_path, monkeypatch):
    """An environment in a project: git finds the project's repository from every folder below it."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "theirs")
    module = tmp_path / ".venv/lib/python3.11/site-packages/boresight/runs/environment.py"
    module.parent.mkdir(parents=True)
    assert git(module.parent, "rev-parse", "HEAD") == git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setattr(environment, "__file__", str(module))
    assert facts()["commit"] is None


def test_a_source_tree_names_its_commit(tmp_path, monkeypatch):
    module = tmp_path / "src/boresight/runs/environment.py"
    module.parent.mkdir(parents=True)
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "ours")
    monkeypatch.setattr(environment, "__file__", str(module))
    assert facts()["commit"] == git(tmp_path, "rev-parse", "--short=12", "HEAD")


def test_the_processor_is_the_model_name_of_linux_else_that_of_python(monkeypatch):
    for given, name in (({"model name": "Eight Cores"}, "Eight Cores"), ({}, platform.processor())):
        monkeypatch.setattr(environment, "processor_facts", lambda given=given: given)
        assert facts()["processor"] == name
