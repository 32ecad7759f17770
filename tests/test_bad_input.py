"""Bad values in every field of every recipe, bad bytes in every file, bad names in every path.

Each case goes through the function that the command line calls, in a folder of its own: it ends with a known
exit code, says one sentence where it fails, and leaves nothing behind.
"""

from __future__ import annotations

import itertools
import json

import pytest
import yaml

from boresight.cli import exits, main
from boresight.config.recipe import Recipe
from boresight.config.section import fields
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.experiments.sweep.recipe import SweepRecipe
from boresight.synthesis.recipe import SynthesisRecipe
from tests.versions import is_older

VALUES = (
    *("", "~", "true", "0", "-1", "1e-320", "1e21", "1" + 24 * "0", ".inf", "-.inf", ".nan"),
    *("[]", "{}", "[[[1]]]", "{a: {b: c}}", "[", "'", "!!python/object:os.system x", "2024-99-99"),
    *("\x00", "\ud800", "é" * 300, "../../../../etc/passwd", "*.jsonl", "a: b", "nowhere"),
)
"""As they may follow the equals sign of an override."""

TRAIN = {
    "method": {"name": "dpo"},
    "model": {"name": "./nowhere"},
    "data": {"train": "nowhere.jsonl"},
    "optim": {"lr": 1e-5},
}
EVALUATE = {
    "prompts": "nowhere.jsonl",
    "systems": {"a": {"model": "./nowhere"}, "b": {"answers": "nowhere.jsonl"}},
    "judge": {"name": "countdown"},
}
SYNTHESIZE = {
    "endpoints": {"policy": {"model": "./nowhere"}},
    "prompts": {"source": "nowhere.jsonl"},
    "answers": {"policy": {"by": "policy"}},
    "judge": {"name": "countdown"},
}
SWEEP = {"recipe": "nowhere.yaml", "metric": "accuracy", "space": {"optim.lr": [1e-5, 1e-4]}}

VERBS = {
    "check": (Recipe, TRAIN, ("--rows", "10")),
    "train": (Recipe, TRAIN, ("--run", "out")),
    "evaluate": (EvaluationRecipe, EVALUATE, ("--run", "out")),
    "synthesize": (SynthesisRecipe, SYNTHESIZE, ("--dry-run", "--run", "out")),
    "sweep": (SweepRecipe, SWEEP, ("--run", "out")),
}
KNOWN = {"recipe.yaml", *(f"pairs.{suffix}" for suffix in ("jsonl", "json", "jsonl.gz", "parquet", "csv"))}
FURTHER = (
    *("model.lora", "model.lora.r", "method.beta", "method.alpha", "reward.0.weight", "judge.rubric"),
    *("systems.a.model", "endpoints.policy.base_url", "endpoints.policy.limits.rpm", "answers.policy.n"),
    "prompts.new.count",
)
"""Fields of sections that a list of fields does not go into."""
CODES = {exits.DONE, exits.FOUND, exits.BAD_INPUT}


@pytest.fixture
def problems(capsys, tmp_path, monkeypatch):
    """`problems("check", …)` runs a verb in an empty folder and says what is wrong with how it ended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def of(*arguments, fails=False):
        with pytest.raises(SystemExit) as left:
            main.main([*arguments])
        code, said = left.value.code, capsys.readouterr().err.strip()
        wrong = code not in CODES or (fails and code == 0)
        usage = said.startswith("Usage: ")  # what is no path at all, such as --
        wrong |= code != 0 and not usage and not (said.startswith("boresight: ") and "\n" not in said)
        beside = sorted({file.name for file in tmp_path.iterdir()} - KNOWN)
        return [(arguments, code, said[-300:], beside)] if wrong or beside else []

    return of


@pytest.mark.parametrize("verb", VERBS)
def test_the_recipes_are_right_but_for_what_they_name(verb, problems, tmp_path, capsys):
    """Otherwise every value would meet the same mistake, and the tests below would try nothing."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(VERBS[verb][1]))
    with pytest.raises(SystemExit):
        main.main([verb, "recipe.yaml", *VERBS[verb][2]])
    assert "nowhere" in capsys.readouterr().err


PARTS = 6
"""A sixth of the cases, about a thousand, runs every time; the others are slow."""


@pytest.mark.parametrize("part", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, PARTS))])
@pytest.mark.parametrize("verb", VERBS)
def test_no_value_of_any_field_breaks_a_verb(verb, part, problems, tmp_path):
    kind, recipe, options = VERBS[verb]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    names = [name for name, *_ in fields(kind)]
    names += ["", "no.such.field", *FURTHER, *recipe]
    cases = list(itertools.product(dict.fromkeys(names), VALUES))[part::PARTS]
    found = [
        problem
        for name, value in cases
        for problem in problems(verb, "recipe.yaml", f"{name}={value}", *options)
    ]
    assert found == []


BYTES = {
    "nothing": b"",
    "a null": b"\x00",
    "not UTF-8": b"method: caf\xe9\n",
    "half of UTF-16": "method: dpo\n".encode("utf-16")[:9],
    "a gzip header": b"\x1f\x8b\x08\x00",
    "deep": b"[" * 100_000,
    "an alias that is not there": b"a: *b\n",
    "a tag": b"!!python/object/apply:os.system [ls]\n",
    "a list": b"- 1\n- 2\n",
    "a word": b"dpo\n",
    "tabs": b"method:\n\tname: dpo\n",
    "twice": b"method: {name: dpo}\nmethod: {name: ipo}\n",
    "an integer of many digits": b"a: " + b"9" * 5000 + b"\n",
    "a date": b"a: 2024-99-99\n",
    "JSON": json.dumps(TRAIN).encode(),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("content", BYTES)
def test_no_bytes_in_a_recipe_break_a_verb(verb, content, problems, tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(BYTES[content])
    assert problems(verb, "recipe.yaml", *VERBS[verb][2], fails=True) == []


@pytest.mark.parametrize("content", BYTES)
@pytest.mark.parametrize("suffix", ["jsonl", "json", "jsonl.gz", "parquet", "csv"])
def test_no_bytes_in_data_break_a_verb(content, suffix, problems, tmp_path):
    (tmp_path / f"pairs.{suffix}").write_bytes(BYTES[content])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(TRAIN | {"data": {"train": f"pairs.{suffix}"}}))
    found = problems("check", "recipe.yaml", fails=True)
    found += problems("data", "check", f"pairs.{suffix}")
    assert found == []


NO_ARGUMENT = pytest.mark.skipif(
    is_older("typer", "0.29"), reason="no system passes such an argument; click raises"
)
PATHS = (
    "",
    ".",
    "/",
    "/proc/nowhere",
    "x" * 300,
    "-",
    "--",
    "~nobody/run",
    "recipe.yaml/run",
    "a\nb",
    "\x1b[31mred",
    "\udcff",
    pytest.param("nul\x00byte", marks=NO_ARGUMENT),
    pytest.param("\ud800", marks=NO_ARGUMENT),
)


@pytest.mark.parametrize("path", PATHS)
def test_no_name_of_a_path_breaks_a_verb(path, problems, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(TRAIN))
    found = []
    for arguments in (
        ("train", path),
        ("train", "recipe.yaml", "--run", path),
        ("train", "recipe.yaml", f"data.train={path}"),
        ("check", "recipe.yaml", f"model.name={path}"),
        ("report", path),
        ("explain", path),
        ("export", path, "--to", path),
        ("arena", path, path),
        ("compare", path, path),
        ("data", "check", path),
    ):
        found += problems(*arguments, fails=True)
    assert found == []
