"""Every package that is imported is declared in pyproject.toml, or always comes with one that is."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_DEVELOPERS = ("bench", "docs", "dev")
COME_WITH = {
    "evaluate": "lm-eval",
    "huggingface-hub": "transformers",
    "ipython": "ipykernel",
    "markupsafe": "jinja2",
    "nbformat": "nbclient",
    "packaging": "transformers",
    "pyarrow": "datasets",
    "pydantic-core": "pydantic",
    "tokenizers": "transformers",
    "tqdm": "transformers",
}
"""Required by every version of the package beside it that is taken."""
FETCHED = {"gguf", "llama-cpp", "pip"}
"""Imported where they are found, and done without where they are not."""
IMPORT = re.compile(r"^\s*(?:import (\w+)|from (\w+)[\w.]* import )|importorskip\(\"(\w+)", re.M)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*lists: list[str]) -> set[str]:
    """Distributions that lists of requirements name."""
    names = {normalized(re.match(r"[\w.-]+", line)[0]) for lines in lists for line in lines}
    return names | {name for name, bringer in COME_WITH.items() if bringer in names}


def imported(folder: str) -> dict[str, Path]:
    """Distribution of every import that is neither Python's nor ours, with a file that imports it."""
    places = [
        path
        for place in ("benchmarks", "docs", "examples", "scripts")
        for path in (ROOT / place).rglob("*.py")
    ]
    ours = {name for path in places for name in (path.stem, path.parent.name)}
    ours |= {"boresight", "tests", "scripts"} | sys.stdlib_module_names
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        for names in IMPORT.findall(path.read_text(encoding="utf-8")):
            found |= {module: path for module in names if module and module not in ours}
    installed = packages_distributions()
    return {normalized(installed.get(module, [module])[0]): path for module, path in found.items()}


@pytest.mark.parametrize("folder", ["src", "tests", "scripts", "benchmarks", "docs", "examples"])
def test_every_import_is_declared(folder: str) -> None:
    """What is in the environment by chance, as markdown-it-py was with every rich but the oldest, is not."""
    lists = [lines for name, lines in EXTRAS.items() if folder != "src" or name not in FOR_DEVELOPERS]
    known = declared(PROJECT["dependencies"], *lists) | FETCHED
    assert {name: path.name for name, path in imported(folder).items() if name not in known} == {}
