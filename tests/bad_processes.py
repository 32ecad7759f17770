"""Command lines with something wrong, as a user types them; each as the words of a real process.

`made` writes a folder with a sound model, pairs and recipe; every case changes it and names how it must end.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.tiny import tiny_model, tiny_tokenizer

RECIPE = {
    "method": {"name": "dpo"},
    "model": {"name": "model", "device": "cpu"},
    "data": {"train": "pairs.jsonl", "eval_rows": 4},
    "optim": {"lr": 1e-5},
    "train": {"batch": 4, "steps": 2},
    "evaluate": {"samples": 0},
    "check": {"probes": 0},
}
EVALUATE = {
    "prompts": "prompts.jsonl",
    "systems": {"a": {"answers": "a.jsonl"}, "b": {"answers": "b.jsonl"}},
    "judge": {"name": "checks", "check": "lengths:length"},
}
LENGTH = "def length(prompts, completions, rows):\n    return [float(len(text)) for text in completions]\n"
TRAIN = ("train", "recipe.yaml", "--run", "out")


@dataclass(frozen=True)
class Case:
    """A command line, how it ends, and what the sentence contains."""

    words: tuple[str | bytes, ...]
    says: str = ""
    code: int = 2
    change: Callable[[Path], object] = lambda folder: None
    environment: dict[str, str] = field(default_factory=dict)
    shell: str = "{}"
    """What a shell runs, with the command line in place of {}."""


def make_folder(folder: Path) -> None:
    """A folder in which `TRAIN` succeeds."""
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    rows = [
        {"prompt": f"say {i}", "chosen": f"the answer {i}", "rejected": f"red green {i} blue"}
        for i in range(20)
    ]
    write_rows(folder / "pairs.jsonl", rows)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))


def write_rows(file: Path, rows: Sequence[Any]) -> None:
    """JSON Lines."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(content: str | bytes, name: str = "recipe.yaml") -> Callable[[Path], object]:
    """Replaces the recipe."""
    text = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(text)


def data(content: bytes, name: str = "pairs.jsonl") -> Callable[[Path], object]:
    """Replaces the data, also in the recipe where it has another name."""

    def write(folder: Path) -> None:
        (folder / name).write_bytes(content)
        (folder / "recipe.yaml").write_text(
            yaml.safe_dump(RECIPE | {"data": {"train": name, "eval_rows": 4}})
        )

    return write


def template(text: str) -> Callable[[Path], object]:
    """Gives the model a chat template."""
    return lambda folder: (folder / "model" / "chat_template.jinja").write_text(text)


def nan_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    file = folder / "model" / "model.safetensors"
    weights = load_file(file)
    save_file({name: torch.full_like(w, float("nan")) for name, w in weights.items()}, file, {"format": "pt"})


def two_prompts(folder: Path) -> None:
    prompts = [{"prompt": [{"role": "user", "content": f"say {i}"}], "id": str(i)} for i in range(2)]
    write_rows(folder / "prompts.jsonl", prompts)
    for name in "ab":
        write_rows(
            folder / f"{name}.jsonl",
            [{"id": str(i), "prompt": p["prompt"], "answer": name * (i + 1)} for i, p in enumerate(prompts)],
        )
    (folder / "lengths.py").write_text(LENGTH)
    (folder / "evaluate.yaml").write_text(yaml.safe_dump(EVALUATE))


def pickled(folder: Path) -> None:
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")


def pickled_adapter(folder: Path) -> None:
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_model.bin").write_bytes(b"\x80\x04.")
    (folder / "adapter" / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "model"})
    )


def loop_of_links(folder: Path) -> None:
    (folder / "out").symlink_to("other")
    (folder / "other").symlink_to("out")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(9)
)
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TRL = "model_name_or_path: model\nlearning_rate: 1e-5\nper_device_train_batch_size: 4\n"
AXOLOTL = "base_model: model\nsequence_len: 2048\nmicro_batch_size: 2\n"
ODD = json.dumps({"prompt": "naïve 文字 🙂 \x1b[31m", "chosen": "é\u2028", "rejected": "no"}).encode() + b"\n"

BUFFERED = {"PYTHONUNBUFFERED": ""}
"""As a command usually runs: the last lines are written when it ends."""

CASES: dict[str, Case] = {
    # values of a recipe
    "an open bracket": Case((*TRAIN, "optim.lr=["), "optim.lr"),
    "infinity": Case((*TRAIN, "optim.lr=.inf"), "optim.lr"),
    "not a number": Case((*TRAIN, "optim.lr=.nan"), "optim.lr"),
    "a negative seed": Case((*TRAIN, "train.seed=-1"), "train.seed"),
    "a number of 22 digits": Case((*TRAIN, "train.steps=1e21"), "train.steps"),
    "a device that is not there": Case((*TRAIN, "model.device=cuda"), "cuda"),
    "a device of another maker": Case((*TRAIN, "model.device=mps"), "mps"),
    "a device that is none": Case((*TRAIN, "model.device=gpu"), "gpu"),
    "the root as data": Case((*TRAIN, "data.train=/"), "/"),
    "a list as data": Case((*TRAIN, "data.train=[1]"), "data.train"),
    "a true adapter": Case((*TRAIN, "model.lora=true"), "model.lora"),
    "an unknown key": Case((*TRAIN, "optim.learning_rate=1"), "optim.lr"),
    "an unknown method": Case((*TRAIN, "method.name=dop"), "dpo"),
    "bytes that are no UTF-8": Case((*TRAIN, b"data.train=\xff.jsonl"), "\\udcff.jsonl"),
    "dashes before a setting": Case((*TRAIN, "--data.train", "x"), "data.train=x"),
    "a word that is no setting": Case((*TRAIN, "hello"), "hello"),
    "a long value": Case((*TRAIN, "model.name=" + "x" * 100_000), "xxx…xxx"),
    # recipes
    "another ending": Case(("train", "recipe.yml"), "recipe.yaml"),
    "a recipe that is not UTF-8": Case(TRAIN, "UTF-8", change=recipe(b"method: caf\xe9\n")),
    "a deep recipe": Case(TRAIN, "recipe.yaml", change=recipe("[" * 100_000)),
    "a recipe that unfolds": Case(TRAIN, "unfold", change=recipe(LAUGHS)),
    "a method by its name": Case(TRAIN, "data.train is missing", change=recipe("method: dpo\n")),
    "a config of TRL": Case(TRAIN, "here it is called model.name", change=recipe(TRL)),
    "a config of axolotl": Case(TRAIN, "here it is called model.name", change=recipe(AXOLOTL)),
    "a tag that runs code": Case(
        TRAIN, "recipe.yaml", change=recipe("!!python/object/apply:os.system [ls]\n")
    ),
    "an empty recipe": Case(TRAIN, "recipe.yaml", change=recipe("")),
    "a folder as recipe": Case(("train", "model"), "model"),
    "a device as recipe": Case(("train", "/dev/zero"), "/dev/zero"),
    "a pipe as recipe": Case(("train", "pipe"), "pipe", change=lambda folder: os.mkfifo(folder / "pipe")),
    "no recipe": Case(("train",), "RECIPE"),
    # places
    "a name of 300 characters": Case((*TRAIN[:3], "x" * 300), "xxx"),
    "a folder in /proc": Case((*TRAIN[:3], "/proc/run"), "/proc: "),
    "a file as parent": Case((*TRAIN[:3], "recipe.yaml/run"), "recipe.yaml"),
    "a loop of links": Case(TRAIN, "out", change=loop_of_links),
    "a folder of other things": Case((*TRAIN[:3], "model"), "model"),
    "a page in no folder": Case(("compare", "a", "b", "--out", "nowhere/page.html"), "nowhere"),
    "an empty name": Case((*TRAIN[:3], ""), "--run"),
    "a folder of markup": Case((*TRAIN[:3], "recipe.yaml/[/b]"), "recipe.yaml/[/b]"),
    "a pipe to explain": Case(("explain", "pipe"), "pipe", change=lambda folder: os.mkfifo(folder / "pipe")),
    "a pipe to compare": Case(
        ("compare", "pipe.csv"), "pipe.csv", change=lambda folder: os.mkfifo(folder / "pipe.csv")
    ),
    "a device for the arena": Case(("arena", "/dev/zero", "/dev/zero"), "/dev/zero"),
    # data
    "no data": Case((*TRAIN, "data.train=pears.jsonl"), "pairs.jsonl"),
    "damaged gzip": Case(TRAIN, "gzip", change=data(gzip.compress(b"{}" * 99)[:-9], "pairs.jsonl.gz")),
    "garbage as Parquet": Case(TRAIN, "Parquet", change=data(b"PAR1" * 9, "pairs.parquet")),
    "half of UTF-16": Case(TRAIN, "pairs.jsonl", change=data("{}".encode("utf-16")[:-1])),
    "deep JSON": Case(TRAIN, "line 1", change=data(b'{"a":' * 50_000)),
    "a number of 5,000 digits": Case(TRAIN, "line 1", change=data(b'{"a": ' + b"9" * 5000 + b"}\n")),
    "a layout of nobody": Case(TRAIN, "layout", change=data(b'{"a": 1}\n')),
    "a pipe as data": Case(
        ("data", "check", "pipe.jsonl"), "pipe.jsonl", change=lambda folder: os.mkfifo(folder / "pipe.jsonl")
    ),
    "one row": Case(TRAIN, "", code=0, change=data(ODD)),
    # models
    "a template that never ends": Case(TRAIN, "of processor time", change=template(LOOPS)),
    "a template of another language": Case(TRAIN, "chat_template", change=template("{% broken")),
    "weights that are a pickle": Case(TRAIN, "pickle", change=pickled),
    "an adapter that is a pickle": Case(
        (*TRAIN, "model.name=adapter"), "adapter_model.bin", change=pickled_adapter
    ),
    "weights that are no numbers": Case(
        (
            *TRAIN,
            "method.name=rloo",
            "reward=[{judge: {name: countdown}}]",
            "data.train=generate:countdown-tiny-problems",
        ),
        "model",
        change=nan_weights,
    ),
    "a cut config": Case(
        TRAIN, "config.json", change=lambda f: (f / "model" / "config.json").write_text("{")
    ),
    # other verbs
    "two prompts": Case(("evaluate", "evaluate.yaml", "--run", "out"), code=0, change=two_prompts),
    "an unknown verb": Case(("trian",), "trian"),
    "no rows": Case(("check", "recipe.yaml", "--rows", "0"), "--rows"),
    "no run to export": Case(("export", "model", "--to", "out"), "model"),
    "no run to report": Case(("report", "pairs.jsonl"), "pairs.jsonl"),
    "no run to explain": Case(("explain", "model/config.json"), "config.json"),
    "no answers for the arena": Case(("arena", "nowhere", "pairs.jsonl"), "nowhere"),
    "a port that is none": Case(
        ("arena", "a.jsonl", "b.jsonl", "--port", "99999"), "port", change=two_prompts
    ),
    "nobody to talk to": Case(("chat", "nowhere"), "nowhere"),
    "no plan": Case(("study", "--plan", "nowhere.yaml"), "nowhere.yaml"),
    "a key in a recipe": Case(
        ("synthesize", "s.yaml", "--run", "out"),
        "key_env",
        change=recipe(
            "endpoints: {p: {model: x, base_url: 'http://h/v1', key_env: sk-1234567890abcdef}}\n", "s.yaml"
        ),
    ),
    # streams
    "a terminal in ASCII": Case(
        ("data", "check", "odd.jsonl"),
        code=0,
        change=data(ODD, "odd.jsonl"),
        environment={"PYTHONIOENCODING": "ascii", "LANG": "C", "LC_ALL": "C"},
    ),
    "a terminal in Latin-1": Case(
        ("data", "show", "odd.jsonl", "--model", "model"),
        code=0,
        change=data(ODD, "odd.jsonl"),
        environment={"PYTHONIOENCODING": "latin-1"},
    ),
    "the C locale without UTF-8 mode": Case(
        ("check", "recipe.yaml"),
        code=0,
        environment={"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    ),
    "a narrow terminal": Case(
        ("data", "show", "pairs.jsonl", "--model", "model"), code=0, environment={"COLUMNS": "1"}
    ),
    "no input": Case(("data", "check", "pairs.jsonl"), code=0, shell="{} <&-"),
    "no output": Case(("data", "check", "pairs.jsonl"), code=0, shell="{} >&-"),
    "no errors": Case((*TRAIN, "optim.lr=["), shell="{} 2>&-"),
    "no streams at all": Case((*TRAIN, "optim.lr=["), shell="{} <&- >&- 2>&-"),
    "a full disk behind the output": Case(
        ("data", "check", "pairs.jsonl"), "No space left", shell="{} >/dev/full"
    ),
    "a full disk behind the result": Case(
        ("data", "check", "pairs.jsonl", "--json", "--quiet"),
        "No space left",
        shell="{} >/dev/full",
        environment=BUFFERED,
    ),
    "a full disk behind the last lines": Case(
        ("data", "check", "pairs.jsonl", "--quiet"),
        "No space left",
        shell="{} >/dev/full",
        environment=BUFFERED,
    ),
    "a reader of the result that leaves": Case(
        ("data", "check", "pairs.jsonl", "--json"),
        code=141,
        shell="{} | true; exit ${PIPESTATUS[0]}",
        environment=BUFFERED,
    ),
    "a reader that leaves": Case(
        ("data", "show", "pairs.jsonl", "--model", "model", "--rows", "20"),
        code=141,
        shell="{} | head -3 >/dev/null; exit ${PIPESTATUS[0]}",
    ),
}

FAST = {
    "dashes before a setting",
    "a recipe that is not UTF-8",
    "a number of 5,000 digits",
    "a recipe that unfolds",
    "no streams at all",
    "a full disk behind the result",
    "a reader that leaves",
}
"""Cases that run every time; the others are slow."""
