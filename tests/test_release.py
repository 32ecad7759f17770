"""Releases and other environments: the section of the changelog, the workflows, the versions to test with."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from scripts.check_release import release_notes

ROOT = Path(__file__).parents[1]
NOTES = (
    "# Changelog\n\n## Unreleased\n\n- New.\n\n## 0.2.0 (2026-12-01)\n\n- Faster.\n\n## 0.1.0 (2026-11-01)\n"
)


@pytest.mark.parametrize(
    ("tag", "version", "notes", "fault"),
    [
        ("v0.2.0", "0.2.0", "- Faster.", ""),
        ("v0.2.0", "0.1.0", "", "v0.2.0: the package's version is 0.1.0"),
        ("0.2.0", "0.2.0", "", "tag v0.2.0"),
        ("v0.3.0", "0.3.0", "", "has no section `## 0.3.0 (YYYY-MM-DD)`"),
        ("v0.1.0", "0.1.0", "", "the section 0.1.0 is empty"),
    ],
)
def test_a_release_needs_its_version_and_its_section(tag, version, notes, fault):
    found, why = release_notes(tag, version, NOTES)
    assert found == notes and fault in why and bool(why) == bool(fault)


def test_the_program_refuses_a_tag_of_another_version():
    command = [sys.executable, "scripts/check_release.py", "v99.0.0"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (1, "") and "v99.0.0: the package's version is" in run.stderr


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=lambda f: f.stem)
def test_workflows_run_what_the_repository_has(workflow):
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    makefile = (ROOT / "Makefile").read_text()
    targets = set(" ".join(re.findall(r"^([\w -]+):(?!=)", makefile, re.M)).split())
    programs = []
    for job in jobs.values():
        versions = job.get("strategy", {}).get("matrix", {}).get("versions", [""])
        commands = " ".join(step.get("run", "") for step in job["steps"])
        places = re.findall(r"(?:scripts|\.ci)/\w+(?:\.\w+)?", commands)
        made = [target + version for target in re.findall(r"make ([\w-]+)", commands) for version in versions]
        assert all((ROOT / place).is_file() for place in places), places
        assert targets.issuperset(made), made
        programs += places
    assert programs


def test_actions_are_pinned_by_commit():
    for workflow in (ROOT / ".github/workflows").glob("*.yml"):
        actions = re.findall(r"uses: (.+)", workflow.read_text())
        assert actions, workflow
        for used in actions:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}  # v[\d.]+", used), used


@pytest.mark.parametrize(
    ("added", "left_out", "shown"),
    [
        ([], [], ""),
        (["boresight/gone.py"], [], "> boresight/gone.py"),
        ([], ["boresight/recipes/dpo.yaml"], "< boresight/recipes/dpo.yaml"),
    ],
)
def test_a_wheel_holds_the_files_of_the_package_and_no_others(tmp_path, added, left_out, shown):
    """The environment is a stand-in, made by a Python whose path is relative, as that of `make wheel` is."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/boresight"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    with zipfile.ZipFile(tmp_path / "boresight.whl", "w") as wheel:
        for name in {*(file.removeprefix("src/") for file in listed), *added} - set(left_out):
            wheel.writestr(name, "")
    (tmp_path / "python").write_text(
        f'#!/bin/sh\nmkdir -p "$3/bin" && cd "$3/bin" && ln -s {sys.executable} python && '
        "ln -s /bin/true pip && ln -s /bin/true boresight\n"
    )
    (tmp_path / "python").chmod(0o755)
    command = [str(ROOT / "scripts/try_wheel.sh"), "boresight.whl", "./python", "--without-torch"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == int(bool(shown)) and shown in run.stdout, run.stderr
    assert ("boresight.whl: does not hold" in run.stderr) == bool(shown)


def test_no_file_of_the_package_is_ignored_by_git():
    """The build leaves out what git ignores: `runs/` for `/runs/` would cost a package."""
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-from=.gitignore", "src/boresight"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == ""


def test_the_oldest_versions_are_the_lower_limits_of_the_project():
    command = ["make", "-Bn", ".venv-oldest/.ready"]
    steps = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (derive,) = re.findall(r"^sed .*(?:\\\n.*)?(?=> \S+/constraints.txt)", steps, re.M)
    pinned = subprocess.run(derive, cwd=ROOT, shell=True, capture_output=True, text=True, check=True).stdout
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = sum(project["optional-dependencies"].values(), project["dependencies"])
    limits = [re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line) for line in lines]
    assert sorted(pinned.split()) == sorted("==".join(limit.groups()) for limit in limits if limit)


def test_the_oldest_transformers_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (oldest,) = [
        line.partition(">=")[2] for line in project["dependencies"] if line.startswith("transformers")
    ]
    shown = subprocess.run(
        ["make", "-Bn", "test-transformers-oldest"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert f'"transformers=={oldest}"' in shown and "tests/models" in shown


def test_programs_of_the_shell_parse():
    for program in [*(ROOT / "scripts").glob("*.sh"), ROOT / ".ci/run"]:
        subprocess.run(["bash", "-n", str(program)], check=True)
