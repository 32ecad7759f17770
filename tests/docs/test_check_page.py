"""Every finding has its section on docs/check.md, and every section a finding."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.core import TyperGroup as Group
from typer.main import get_command

from boresight import methods
from boresight.checks.run import initial_loss
from boresight.cli.main import app
from boresight.config.recipe import Recipe
from boresight.findings import live_checks, log_checks
from boresight.findings.finding import Finding, checks_of
from boresight.findings.page import PROSE, names, section
from boresight.runs.check import preflight
from tests.pins.recipes import keys

ROOT = Path(__file__).parents[2]
CHECKS = ROOT / "src" / "boresight"
MAKERS = {"error", "warning", "note", "graded", "say"}
AREAS = (*preflight.AREAS, initial_loss, live_checks, log_checks)


def written_names() -> set[str]:
    """First arguments of every call that makes a finding, and the names of all checks."""
    found = {check.__name__.replace("_", "-") for area in AREAS for check in checks_of(area)}
    found |= set(preflight.STOPS.values())
    for file in CHECKS.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKERS and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and re.fullmatch(r"[a-z]+(-[a-z]+)*", str(first.value)):
                    found.add(first.value)
    return found


def test_every_finding_has_its_section_and_every_section_a_finding():
    assert written_names() == set(names())


@pytest.mark.parametrize("name", names())
def test_a_section_is_text_of_a_few_lines(name):
    """`boresight explain NAME` prints it: no headings, tables, fences or links."""
    text = section(name)
    assert 20 < len(text) < 900
    assert not re.search(r"^#|^\||```|\]\(|<a id", text, flags=re.MULTILINE)


SETTING = re.compile(r"([a-z_]+(?:\.[a-z_]+)*)(?:=(.+))?")


def settings_of_recipes() -> set[str]:
    """Dotted keys that a recipe of `train` may have, those of every method under `method`."""
    own = keys(Recipe)
    return {*own, *(f"method.{key}" for name in methods.names() for key in keys(methods.get(name).Config))}


def is_command(code: str) -> bool:
    """Whether a piece of code is a command of boresight; its verb and options must exist."""
    first, *words = shlex.split(code)
    if first != "boresight":
        return False
    command = get_command(app)
    while isinstance(command, Group):
        command = command.commands[words.pop(0)]
    known = {"--help", *(option for parameter in command.params for option in parameter.opts)}
    unknown = {word for word in words if word.startswith("--")} - known
    assert not unknown, code
    return True


def is_setting(code: str) -> bool:
    """Whether a piece of code is a setting of a recipe, with or without a value of YAML."""
    found = SETTING.fullmatch(code)
    if not found or found[1] not in settings_of_recipes():
        return False
    yaml.safe_load(found[2] or "")
    return True


@pytest.mark.parametrize("name", names())
def test_a_section_ends_in_a_fix_with_a_command_or_a_setting(name):
    """The fix is the last paragraph; of its code, one piece is a command or a setting that exists."""
    *_, last = section(name).split("\n\n")
    assert last.startswith("Fix: "), last
    code = [" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", last)]
    assert any(is_command(piece) or is_setting(piece) for piece in code), last


@pytest.mark.parametrize("name", names())
def test_settings_and_commands_of_a_section_exist(name):
    """Code that looks like a setting of a section of the recipe is one."""
    sections = {key.partition(".")[0] for key in settings_of_recipes()}
    for piece in re.findall(r"`([^`]+)`", section(name)):
        code = " ".join(piece.split())
        found = re.match(r"([a-z_]+)\.[a-z_]+", code)
        if code.startswith("boresight "):
            assert is_command(code)
        elif found and found[1] in sections and not code.endswith((".json", ".jsonl", ".yaml")):
            assert is_setting(code), code


def test_the_documentation_shows_the_page_of_the_package():
    assert (ROOT / "docs" / "check.md").read_text() == (CHECKS / "findings" / "check.md").read_text()


def test_a_finding_links_to_its_section():
    assert Finding("length-leak", "warning", "", "").link == "docs/check.md#length-leak"


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.__name__.rsplit(".", 1)[-1])
def test_a_check_is_called_as_its_finding(area):
    """A name is written twice, as a function and in what it returns; the two must agree."""
    tree = ast.parse(Path(area.__file__).read_text())
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name not in {c.__name__ for c in checks_of(area)}:
            continue
        made = {
            call.args[0].value
            for call in ast.walk(node)
            if isinstance(call, ast.Call)
            and getattr(call.func, "id", "") in MAKERS
            and call.args
            and isinstance(call.args[0], ast.Constant)
        }
        assert made <= {node.name.replace("_", "-")}, node.name


def test_links_inside_the_page_lead_somewhere():
    page = (ROOT / "docs" / "check.md").read_text()
    assert set(re.findall(r"\]\(#([a-z-]+)\)", page)) <= {*names(), *PROSE}
