"""The README is kept true: its tree, its commands, its make targets."""

import ast
import re
from pathlib import Path

import pytest

from boresight.cli import main
from boresight.config.recipe import Recipe
from tests.test_layers import LEVEL

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    boresight (.+?)(?:\s+#.*)?$", README, re.M)
TREE = README.split("## Where things are")[1]


def test_every_path_in_the_tree_exists():
    folder = ROOT
    for line in TREE.splitlines():
        found = re.match(r"^(    |      )([\w./-]+)  ", line)
        if not found:
            continue
        indent, name = found.groups()
        folder = ROOT / "src/boresight" if len(indent) == 6 else ROOT
        assert (folder / name).exists(), line


def roles():
    """Package and role of every line about a package in the README."""
    return dict(re.findall(r"^      (\w+)/ +(.+)$", TREE, re.M))


def test_every_package_is_listed_with_its_own_words():
    packages = {file.parent.name: file for file in (ROOT / "src" / "boresight").glob("*/__init__.py")}
    words = {name: ast.get_docstring(ast.parse(file.read_text())) for name, file in packages.items()}
    assert roles() == {name: text.splitlines()[0] for name, text in words.items()}


def test_packages_are_listed_from_the_bottom_layer_up():
    levels = [LEVEL[name] for name in roles()]
    assert levels == sorted(levels)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"^    make ([\w-]+)", README, re.M)
    assert {"demo", "test"} <= set(named)
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_there_are_commands():
    assert len(COMMANDS) >= 8


WRITTEN = "my_pairs-dpo.yaml"
"""The recipe that `init` writes; tests/docs/test_snippets.py runs these commands in order."""


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("train ") and WRITTEN not in c])
def test_recipes_and_overrides_in_the_readme_parse(command):
    words = command.split()[1:]
    overrides = [word for word in words[1:] if "=" in word]
    assert Recipe.load(words[0], overrides)


def test_every_verb_exists(capsys):
    for verb in {" ".join(c.split()[: 2 if c.startswith("data") else 1]) for c in COMMANDS}:
        with pytest.raises(SystemExit) as left:
            main.main([*verb.split(), "--help"])
        assert left.value.code == 0, verb
    capsys.readouterr()
