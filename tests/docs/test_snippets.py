"""Every command and snippet of README and docs is executed, page by page, from top to bottom.

A page is a programme: its titled blocks are files, its snippets share their names, its commands find what
was written before. Recipes are made small (workplace.py); the words that are run are those that are printed.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

import pytest
import typer
import yaml

from boresight.cli import main
from boresight.config.recipe import Recipe
from boresight.data import layouts
from boresight.data.reading.detect import fitting
from boresight.evaluation.recipe import CountdownRecipe, HarnessRecipe, RewardRecipe, WinRateRecipe
from boresight.experiments.study.plan import StudyPlan
from boresight.synthesis.recipe import SynthesisRecipe
from tests.docs.snippets import ROOT, Block, blocks, commands
from tests.docs.workplace import furnish, make_run, standing_in

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PARSED = {
    "chat": "reads what somebody types; tests/test_chat.py types",
    "arena": "serves until it is closed; tests/arena drives it",
    "sweep": "trains many runs; tests/experiments/sweep sweeps",
    "study": "trains many runs; tests/experiments/study carries a small plan out",
    "eval-tasks": "needs lm-eval and downloads; tests/parity/test_lm_eval.py runs local tasks",
    "--gguf": "has no name for the pre-tokenizer of the small model; tests/export converts others",
    "--here": "serves until it is closed; tests/serving asks it",
}
"""Words of commands that are only parsed, whatever the page says."""

NOT_RUN = {"synthetic-data.md": 1, "vllm.md": 1}
"""Blocks that a page excuses from being run, with a reason in its source. A new one is a decision."""


@dataclass
class Reader:
    """Somebody who does what the page says."""

    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "snippet"})

    def do(self, block: Block) -> None:
        """One block, by its language."""
        act = LANGUAGES.get(block.language)
        assert act, f"{block.place}: nobody knows what to do with {block.language!r}"
        act(self, block)

    def keep(self, block: Block) -> None:
        """Write a titled block to its file."""
        path = self.folder / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        layouts.all_layouts.cache_clear()
        importlib.invalidate_caches()

    def python(self, block: Block) -> None:
        """Run a snippet, or keep a file."""
        if block.title:
            compile(block.text, block.title, "exec")
            self.keep(block)
            return
        tree = ast.parse(block.text, block.place)
        ast.increment_lineno(tree, block.line - 1)
        exec(compile(tree, block.place, "exec"), self.names)

    def shell(self, block: Block) -> None:
        """Run the commands of a block; other lines are what they print."""
        for words in commands(block):
            PROGRAMMES[words[0]](self, words[1:], block)

    def yaml(self, block: Block) -> None:
        """Keep a recipe; a part of one must consist of sections and fields that exist."""
        if block.title:
            self.keep(block)
            return
        raw = yaml.safe_load(block.text)
        evaluations = (WinRateRecipe, RewardRecipe, CountdownRecipe, HarnessRecipe)
        kinds = (Recipe, *evaluations, SynthesisRecipe, StudyPlan)
        unknown = min((unknown_keys(kind, raw) for kind in kinds), key=len)
        assert not unknown, f"{block.place}: no recipe has {unknown}"

    def json(self, block: Block) -> None:
        """Read it; a block titled with a layout must be that layout."""
        for line in block.text.splitlines():
            record = json.loads(line)
            if block.title in layouts.names():
                assert [source.name for source in fitting(record)] == [block.title], block.place
        if block.title.endswith(".jsonl"):
            self.keep(block)

    def boresight(self, words: Sequence[str], block: Block) -> None:
        """Run a command in this process, or parse it."""
        self.have_runs(words)
        parse(words)
        if block.note == "not run" or resumes(words) or any(word in PARSED for word in words):
            return
        with pytest.raises(SystemExit) as left:
            main.main(list(words))
        expected = {2} if block.note == "fails" else {0, None, 1} if words[0] == "check" else {0, None}
        assert left.value.code in expected, f"{block.place}: boresight {' '.join(words)}: {left.value.code}"

    def have_runs(self, words: Sequence[str]) -> None:
        """Runs and files below runs/ that a command names and that nothing on the page has made."""
        given = [word for word, before in zip(words, ["", *words], strict=False) if before != "--run"]
        for word in given:
            path = self.folder / word.partition("=")[2] if "=" in word else self.folder / word
            if not str(path).startswith(str(self.folder / "runs")) or path.exists():
                continue
            if path.suffix == ".jsonl":
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.folder / "my_pairs.jsonl", path)
            else:
                shutil.copytree(self.folder / "finished", path)

    def make(self, words: Sequence[str], block: Block) -> None:
        """The target is there; what it does is this test and others."""
        for target in words:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), (
                f"{block.place}: {target}"
            )

    def pip(self, words: Sequence[str], block: Block) -> None:
        """The extras are there."""
        known = (ROOT / "pyproject.toml").read_text()
        for extra in re.findall(r"boresight\[([\w-]+)\]", " ".join(words)):
            assert re.search(rf"^{extra} = \[", known, re.M), f"{block.place}: no extra {extra}"

    def script(self, words: Sequence[str], block: Block) -> None:
        """The script is there; it has a test of its own."""
        assert (ROOT / words[0]).is_file(), f"{block.place}: {words[0]}"

    def torchrun(self, words: Sequence[str], block: Block) -> None:
        """What it starts is a command of ours; starting it twice is for tests/training."""
        own = list(words)[list(words).index("-m") + 2 :]
        parse(own)

    def foreign(self, words: Sequence[str], block: Block) -> None:
        """Somebody else's programme, which a page must excuse."""
        assert block.note == "not run", f"{block.place}: say why {words[0]} cannot be run"

    def nothing(self, words: Sequence[str], block: Block) -> None:
        """Changes the reader's shell alone."""


LANGUAGES: dict[str, Callable[[Reader, Block], None]] = {
    "python": Reader.python,
    "bash": Reader.shell,
    "": Reader.shell,
    "yaml": Reader.yaml,
    "json": Reader.json,
    "math": lambda reader, block: None,  # typeset, or refused, when the site is built
}
PROGRAMMES: dict[str, Callable[[Reader, Sequence[str], Block], None]] = {
    "boresight": Reader.boresight,
    "make": Reader.make,
    "pip": Reader.pip,
    "python": Reader.script,
    "torchrun": Reader.torchrun,
    "vllm": Reader.foreign,
    "export": Reader.nothing,
}


def resumes(words: Sequence[str]) -> bool:
    """Whether a command resumes an interrupted run, which no page has; tests/test_cli.py resumes one."""
    return words[0] == "train" and words[1].startswith("runs/")


def parse(words: Sequence[str]) -> None:
    """Read a command line as the real one would, without running it."""
    command = typer.main.get_command(main.app)
    context = command.make_context("boresight", list(words[:1]), resilient_parsing=True)
    rest = list(words)
    while hasattr(command, "get_command"):
        name, command, rest = command.resolve_command(context, rest)
        assert command is not None, name
    parsed = command.make_context(command.name, rest)
    recipe = parsed.params.get("recipe")
    if command.name in ("train", "check") and recipe and not resumes(words):
        Recipe.read(recipe, parsed.params.get("overrides"))


def unknown_keys(model: Any, raw: dict[str, Any], prefix: str = "") -> list[str]:
    """Keys that a section has not, below it too; settings of methods and judges are their own."""
    found = []
    for key, value in raw.items():
        info = model.model_fields.get(key)
        if info is None:
            found.append(prefix + key)
            continue
        options = [info.annotation, *getattr(info.annotation, "__args__", ())]
        below = next((o for o in options if isinstance(o, type) and hasattr(o, "model_fields")), None)
        if below is not None and isinstance(value, dict) and key not in ("method", "judge"):
            named = get_origin(info.annotation) is dict  # sections under names of the user's own
            for part in value.values() if named else [value]:
                found += unknown_keys(below, part, f"{prefix}{key}.")
    return found


@pytest.fixture(scope="module")
def furnished(tmp_path_factory) -> Path:
    """A folder with everything the pages take for granted, and a finished run."""
    folder = tmp_path_factory.mktemp("workplace")
    furnish(folder)
    with standing_in(folder):
        make_run("finished")
    return folder


@pytest.fixture
def reader(furnished, tmp_path) -> Iterator[Reader]:
    """A reader in a workplace of their own."""
    folder = tmp_path / "workplace"
    shutil.copytree(furnished, folder, symlinks=True)
    with standing_in(folder):
        yield Reader(folder)


def name(page: Path) -> str:
    """A page as it is called here."""
    return str(page.relative_to(ROOT)).removeprefix("docs/")


@pytest.mark.parametrize("page", [page for page in PAGES if list(blocks(page))], ids=name)
def test_a_reader_can_do_what_the_page_says(reader, page, capsys):
    for block in blocks(page):
        try:
            reader.do(block)
        except AssertionError:
            raise
        except BaseException as error:
            said = capsys.readouterr()
            raise AssertionError(f"{block.place}: {error!r}\n{said.out[-800:]}\n{said.err[-800:]}") from error
        if block.note == "fails":
            assert block.why in " ".join(capsys.readouterr().err.split()), block.place


def test_what_is_not_run_is_counted_and_says_why():
    excused = [block for page in PAGES for block in blocks(page) if block.note == "not run"]
    assert Counter(name(block.page) for block in excused) == NOT_RUN
    assert all(len(block.why) > 10 for block in excused)


def test_every_layout_has_an_example_on_the_page_of_formats():
    shown = {block.title for block in blocks(ROOT / "docs" / "data-formats.md") if block.language == "json"}
    assert set(layouts.names()) == shown


def test_a_page_with_a_fault_is_caught(reader, tmp_path, monkeypatch):
    """The reader must be able to fail: a wrong key, a missing target, a snippet that raises."""
    faults = {
        "bash": "boresight train dpo method.betta=1",
        "": "make nothing-of-the-kind",
        "python": "assert 1 == 2",
        "yaml": "optimm: {lr: 1}",
        "perl": "print 1",
    }
    for language, text in faults.items():
        block = Block(ROOT / "README.md", 1, language, "", f"{text}\n", "", "")
        with pytest.raises(AssertionError):
            reader.do(block)
