"""Programs beside the package import names that the package has; nothing else runs most of them in CI."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted(
    path for folder in ("benchmarks", "scripts", "examples") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_imported_name_of_the_package_exists(program: Path) -> None:
    assert [name for name in imported(program) if not exists(name)] == []


def imported(program: Path) -> list[tuple[str, str]]:
    """Module and name of every import from the package, those inside functions included."""
    names = []
    for node in ast.walk(ast.parse(program.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [(alias.name, "") for alias in node.names]
    return [(module, name) for module, name in names if module.split(".")[0] == "boresight"]


def exists(name: tuple[str, str]) -> bool:
    module, attribute = name
    try:
        found = importlib.import_module(module)
    except ImportError:
        return False
    return not attribute or hasattr(found, attribute) or is_module(f"{module}.{attribute}")


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def test_the_field_trial_sees_which_words_are_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The answer is scored and the prompt is not; a pattern that is in neither is complained of."""
    trial = load(ROOT / "scripts" / "field_trial.py")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "How is the sky?", "completion": "Blue."}\n' * 3)
    settings = {"method": {"name": "sft"}, "model": {"name": "starter"}, "optim": {"lr": 1e-4}}
    settings["data"] = {"train": str(rows)}
    (tmp_path / "recipe.yaml").write_text(json.dumps(settings))
    case = trial.Case("starter", ".", "sky", rows, "sft", rows=3, learned="Blue", context="sky", never="sky")
    assert trial.read_file(case, tmp_path) == 0
    assert trial.read_file(replace(case, learned="sky"), tmp_path) != 0
    assert "the pattern 'sky' is not in the text" in capsys.readouterr().err


def load(program: Path) -> Any:
    spec = importlib.util.spec_from_file_location(program.stem, program)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its data classes look for themselves
    spec.loader.exec_module(module)
    return module
