"""Tiny runs of every verb, each made once and shared by the pins of folders, formats and curves.

All of them are made by the public functions or the command line, in a temporary folder that goes away with
the process. The tiny model is random, and its rows are a few words.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

import boresight
from boresight import methods
from boresight.cli import main
from tests.llm.fake_server import FakeServer
from tests.llm.helpers import KEY, KEY_ENV
from tests.synthesis.test_synth_run import answer_and_judge
from tests.synthesis.test_synth_run import raw as synthesis_recipe
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.pair import environment, free_port

LORA = {"r": 4, "dropout": 0.0}
COLOURS = ("red", "green", "blue", "white", "grey", "black", "pink", "brown")
ONLINE = {"grpo", "online_dpo", "rloo", "xpo"}


def longer_is_better(prompts: Any, completions: list[str], rows: Any) -> list[float]:
    """A reward that every sample gets: its length in characters, from 0 to 6."""
    return [float(len(text) % 7) for text in completions]


@cache
def home() -> Path:
    """Temporary folder with the tiny model and all data."""
    folder = Path(tempfile.mkdtemp(prefix="pins-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tiny_model(max_position_embeddings=1024).save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    _write_rows(
        folder / "pairs.jsonl",
        [
            {
                "prompt": f"say {n // 2}",
                "chosen": "the answer " * (1 + n % 3),
                "rejected": "red green " * (1 + n % 2),
            }
            for n in range(48)
        ],
    )
    _write_rows(
        folder / "prompts.jsonl", [{"id": f"row-{n}", "prompt": f"Say {c}."} for n, c in enumerate(COLOURS)]
    )
    problems = [{"id": f"p{n}", "nums": [n, n + 1, n + 2], "target": 3 * n + 3} for n in range(1, 9)]
    _write_rows(folder / "problems.jsonl", problems)
    for name, solved in (("old", 3), ("new", 6)):
        rows = [
            {"id": p["id"], "answer": f"<answer>{_sum(p) if n < solved else 'no'}</answer>"}
            for n, p in enumerate(problems)
        ]
        _write_rows(folder / f"{name}.jsonl", rows)
    constraint = {"kind": "max_words", "params": {"n": 15}}
    asked = [
        {
            "id": f"p{n}",
            "prompt": [{"role": "user", "content": f"Ask {n}."}],
            "meta": {"constraint": constraint},
        }
        for n in range(3)
    ]
    _write_rows(folder / "asked.jsonl", asked)
    return folder


def _sum(problem: dict[str, Any]) -> str:
    return "+".join(map(str, problem["nums"]))


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@contextmanager
def alone() -> Iterator[None]:
    """One thread, a cache and a key of our own, no proxy, nothing on standard output; restored afterwards."""
    threads, before = torch.get_num_threads(), dict(os.environ)
    torch.set_num_threads(1)
    os.environ |= {"XDG_CACHE_HOME": str(home() / "cache"), KEY_ENV: KEY}
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        torch.set_num_threads(threads)
        os.environ.clear()
        os.environ |= before


def training(method: str, **changes: Any) -> dict[str, Any]:
    """A recipe of eight steps."""
    recipe: dict[str, Any] = {
        "method": {"name": method},
        "model": {"name": str(home() / "model"), "device": "cpu"},
        "data": {"train": str(home() / "pairs.jsonl"), "eval_rows": 8},
        "optim": {"lr": 2e-4},
        "train": {"batch": 4, "steps": 8, "eval_every": 4},
        "evaluate": {"samples": 2, "max_new_tokens": 4, "kl_rows": 2},
        "check": {"probes": 1},
    }
    if method in ONLINE:
        recipe |= {
            "data": {"train": str(home() / "prompts.jsonl"), "eval_rows": 0},
            "reward": [{"function": f"{__name__}:longer_is_better"}],
            "rollout": {"k": 2, "max_new_tokens": 6},
            "evaluate": recipe["evaluate"] | {"prompts": str(home() / "prompts.jsonl"), "kl_rows": 0},
            "check": {"probes": 0, "allow": ["reward-constant", "learning-rate-budget"]},
        }
    for section, values in changes.items():
        recipe[section] = recipe[section] | values
    return recipe


@cache
def trained(method: str) -> Path:
    """Run folder of a method that trained all weights."""
    with alone():
        return boresight.train(training(method), run=home() / f"full-{method}", quiet=True).folder


@cache
def trained_with_lora() -> Path:
    """Run folder of DPO with LoRA, with a checkpoint in the middle and the best one kept."""
    recipe = training("dpo", model={"lora": LORA}, train={"save_every": 5, "keep": 2})
    with alone():
        return boresight.train(recipe, run=home() / "lora-dpo", quiet=True).folder


@cache
def trained_by_two() -> Path:
    """Run folder of DPO in two processes, started as torchrun starts them, with a cache of their own."""
    recipe, folder = home() / "two.yaml", home() / "two-dpo"
    recipe.write_text(yaml.safe_dump(training("dpo", train={"parallel": "ddp"})), encoding="utf-8")
    command = [sys.executable, "-m", "boresight", "train", str(recipe), "--run", str(folder)]
    ours = dict(os.environ) | {"XDG_CACHE_HOME": str(home() / "cache-of-two"), "OMP_NUM_THREADS": "1"}
    port = free_port()
    started = [
        subprocess.Popen(
            command,
            env=ours | environment(number, port),
            cwd=home(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in (0, 1)
    ]
    said = [process.communicate(timeout=180)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)
    return folder


def reference_cache() -> Path:
    """Folder of the reference's log-probabilities that the two processes stored."""
    trained_by_two()
    return home() / "cache-of-two" / "boresight" / "reference"


@cache
def won() -> Path:
    """Folder of a win rate: answers from files, the Countdown verifier as judge."""
    recipe = {
        "prompts": str(home() / "problems.jsonl"),
        "systems": {name: {"answers": str(home() / f"{name}.jsonl")} for name in ("old", "new")},
        "judge": {"name": "countdown"},
        "trust": {"controls": 3, "repeats": 3},
        "ledger": str(home() / "judgements.sqlite"),
    }
    with alone():
        return boresight.evaluate(recipe, run=home() / "win-rate", quiet=True).folder


@cache
def solved() -> Path:
    """Folder of a Countdown evaluation of the tiny model."""
    recipe = {
        "prompts": str(home() / "problems.jsonl"),
        "systems": {"tiny": {"model": str(home() / "model")}},
        "generate": {"max_new_tokens": 4, "temperature": 1.0, "device": "cpu"},
        "countdown": {"samples": 2, "pass_at": [1, 2]},
    }
    with alone():
        return boresight.evaluate(recipe, run=home() / "countdown", quiet=True).folder


@cache
def synthesized() -> Path:
    """Folder of a synthetic data set whose answers and ratings come from a server on loopback."""
    with alone(), FakeServer(answer=answer_and_judge) as server:
        recipe = synthesis_recipe(server, home() / "prompts.jsonl")
        return boresight.synthesize(recipe, run=home() / "synthetic", quiet=True).folder


@cache
def swept() -> Path:
    """Folder of a sweep of two learning rates, whose best is confirmed."""
    recipe = training("dpo", data={"eval_rows": 9}, train={"steps": 2}, evaluate={"samples": 0, "kl_rows": 0})
    sweep = {
        "recipe": recipe,
        "space": {"optim.lr": [1e-5, 1e-3]},
        "metric": "margin",
        "confirm": {"top": 1, "seeds": 2},
    }
    return _command("sweep", sweep)


@cache
def studied() -> Path:
    """Folder of a study of two arms, one of which starts from the other, with answers and a figure."""
    recipe = training("dpo", train={"steps": 2}, evaluate={"samples": 0, "kl_rows": 0})
    (home() / "dpo.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    arm = {"group": "pairs", "recipe": "dpo.yaml"}
    plan = {
        "title": "tiny",
        "groups": {"pairs": {"title": "Pairs", "metrics": ["accuracy", "margin", "good"]}},
        "answers": {
            "groups": ["pairs"],
            "start": str(home() / "model"),
            "prompts": str(home() / "asked.jsonl"),
            "max_new_tokens": 4,
            "shown": ["slow"],
        },
        "arms": {
            "slow": arm | {"title": "slow", "role": "published"},
            "onward": arm | {"title": "onward", "starts_from": "slow", "set": {"optim.lr": 1e-2}},
        },
        "comparisons": [{"title": "DPO", "of": "slow", "to": "onward"}],
        "figures": {"loss": {"title": "Loss", "metric": "loss", "arms": ["slow", "onward"]}},
    }
    return _command("study", plan)


def _command(verb: str, recipe: dict[str, Any]) -> Path:
    """Run a verb of the command line that has no function, on a recipe as a file."""
    path, folder = home() / f"{verb}.yaml", home() / verb
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    named = ["--plan", path] if verb == "study" else [path]
    _main(verb, *named, "--run", folder)
    return folder


@cache
def exported(form: str) -> Path:
    """Folder that `export` wrote, `merged` or `adapter`, of the run with LoRA."""
    run, folder = trained_with_lora(), home() / f"export-{form}"
    _main("export", run, "--to", folder, f"--{form}")
    return folder


@cache
def compared() -> Path:
    """Folder of a comparison of two runs."""
    (home() / "compare").mkdir()
    with alone():
        runs = trained("dpo"), trained("ipo")
        return boresight.compare(*runs, out=home() / "compare" / "compare.html").page.parent


def _main(*arguments: Any) -> None:
    with alone():
        try:
            main.main(list(map(str, arguments)))
        except SystemExit as left:
            assert not left.code, f"boresight {arguments[0]} ended with {left.code}"


def every() -> dict[str, Path]:
    """All folders, by what wrote them."""
    full = {f"train {method}, all weights": trained(method) for method in methods.names()}
    return full | {
        "train dpo, LoRA": trained_with_lora(),
        "train dpo, two processes": trained_by_two(),
        "evaluate, win rate": won(),
        "evaluate, countdown": solved(),
        "synthesize": synthesized(),
        "sweep": swept(),
        "study": studied(),
        "export, merged": exported("merged"),
        "export, adapter": exported("adapter"),
        "compare": compared(),
    }
