"""Where `train` stops before its first step, `check` exits non-zero and prints the same sentence."""

from __future__ import annotations

import json

import pytest
import yaml

from boresight.cli import main
from tests.runs.check import faults


@pytest.fixture(scope="module")
def sound_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "model"
    faults.save_sound_model(folder)
    return folder


@pytest.fixture
def folder(tmp_path, sound_model, monkeypatch):
    """An empty folder with a sound model, pairs and recipe, which is the current one; no hub, no cache."""
    import shutil

    monkeypatch.setattr("boresight.core.files.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sound_model, tmp_path / "model")
    faults.write_rows(tmp_path / "pairs.jsonl", faults.pairs())
    recipe = {
        "method": {"name": "dpo"},
        "model": {"name": "./model"},
        "data": {"train": "pairs.jsonl", "max_length": 200},
        "optim": {"lr": 1e-3},
        "train": {"batch": 4, "steps": 1},
        "evaluate": {"samples": 1, "rewarded": 1, "max_new_tokens": 4},
        "check": {"probes": 0},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


@pytest.fixture
def command(capsys):
    """`command("check", …)`: exit code and what was said on stderr."""

    def run(*arguments):
        capsys.readouterr()  # what writing the case has printed
        with pytest.raises(SystemExit) as left:
            main.main(list(map(str, arguments)))
        return int(left.value.code or 0), capsys.readouterr().err.strip()

    return run


@pytest.mark.parametrize("name", faults.stops.cases)
def test_what_stops_train_stops_check_with_the_same_sentence(name, folder, command):
    overrides = list(faults.stops.cases[name](folder))
    checked, found = command("check", "recipe.yaml", *overrides)
    trained, said = command("train", "recipe.yaml", *overrides, "--run", "run")
    assert trained == 2, "the case is no fault"
    assert said.startswith("boresight: ") and len(said.splitlines()) == 1
    assert checked != 0 and found == said
    assert not (folder / "run" / "model").exists()


def swapped(folder):
    """Pairs whose rejected answers have the higher scores: an error of `check`, which can be allowed."""
    rows = [{**row, "score_chosen": 1.0, "score_rejected": 2.0} for row in faults.pairs(120)]
    faults.write_rows(folder / "pairs.jsonl", rows)
    return "In 100 % of "


def missing(folder):
    (folder / "pairs.jsonl").unlink()
    return "pairs.jsonl: no such file"


@pytest.mark.parametrize("case", [swapped, missing])
@pytest.mark.parametrize("verb", ["check", "train"])
@pytest.mark.parametrize("flags", [(), ("--quiet",)])
def test_an_error_is_printed_once(verb, case, flags, folder, capsys):
    """On both streams together, as a terminal shows them."""
    sentence = case(folder)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main.main([verb, "recipe.yaml", *flags, *(["--run", "run"] if verb == "train" else [])])
    said = capsys.readouterr()
    assert " ".join((said.out + said.err).split()).count(sentence) == 1
    if case is swapped:
        assert said.err.endswith(
            "boresight: check: labels-swapped stops the run; fix it, or proceed with "
            "check.allow=[labels-swapped].\n"
        )


@pytest.mark.parametrize("name", faults.starts.cases)
def test_what_starts_passes_check(name, folder, command):
    overrides = list(faults.starts.cases[name](folder))
    assert command("check", "recipe.yaml", *overrides) == (0, "")
    trained, said = command("train", "recipe.yaml", *overrides, "--run", "run")
    assert (trained, said) == (0, "")
    assert json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 1
