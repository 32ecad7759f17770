"""Every finding has its section on docs/check.md, and every section a finding."""

import ast
import re
from pathlib import Path

import pytest

from boresight.checks.run import initial_loss
from boresight.findings import live_checks, log_checks
from boresight.findings.finding import Finding, checks_of
from boresight.findings.page import PROSE, names, section
from boresight.runs.check import preflight

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
