"""A folder that has what the pages speak of, small: data, a model, runs; and how recipes get small in it.

Commands and snippets run as they are printed. What changes is the recipe they read: two steps of two rows on
a tiny model, in place of minutes on a real one.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

import boresight
from boresight import methods
from boresight.config.base import BaseRecipe
from boresight.config.dotted import apply_override
from boresight.data import layouts
from boresight.data.demo import data_path
from boresight.data.reading.sources import generated
from boresight.models.embedded.starter import starter_folder
from boresight.runs import folder as run_folder
from boresight.scorers import judges
from boresight.tasks.countdown import all_problems, generate_problems
from boresight.training.forward import INPUT_KINDS
from tests.docs.snippets import ROOT
from tests.tiny import SPECIAL, tiny_model, tiny_tokenizer

SMALL_RUN = [
    "train.steps=2",
    "train.batch=2",
    "train.epochs=null",
    "train.eval_every=null",
    "evaluate.samples=1",
    "evaluate.kl_rows=2",
    "evaluate.max_new_tokens=4",
    "data.eval_rows=4",
    "check.probes=1",
    "check.allow=[learning-rate-budget,reward-constant,not-exploring]",
]
SMALL_REWARDED = ["evaluate.rewarded=2"]
SMALL_ROLLOUT = ["rollout.k=2", "rollout.max_new_tokens=4"]
SMALL_EVALUATION = ["limit=4", "generate.max_new_tokens=4", "trust.controls=2", "trust.repeats=2"]
SMALL_COUNTDOWN = ["limit=4", "generate.max_new_tokens=4", "countdown.samples=2", "countdown.pass_at=[1,2]"]
SMALL_REWARD = ["limit=4", "generate.max_new_tokens=4", "generate.temperature=1.0", "samples=2", "k=[1,2]"]
SMALL_SYNTHESIS = ["prompts.limit=2", "pairs.min_words=1", "pairs.max_length_gap=null"]


def make_model(folder: Path, template: str = "chatml") -> Path:
    """A model that answers at random, and ends its turn at about every tenth token."""
    model, tokenizer = tiny_model(max_position_embeddings=2048), tiny_tokenizer(template)
    end = len(SPECIAL[template]) - 1
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = 1  # a direction that every hidden state has
        model.get_output_embeddings().weight[end, 0] = 0.6
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """JSON Lines, gzipped where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.write(text)


def furnish(folder: Path) -> None:
    """Everything that a reader is supposed to have."""
    make_model(folder / "path/to/model")
    make_model(folder / "path/to/base", "base")
    for name in ("recipes", "scripts", "Makefile"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "src/boresight/data").mkdir(parents=True)
    (folder / "src/boresight/data/demo").symlink_to(ROOT / "src/boresight/data/demo")
    colours = ["red", "green", "blue", "white", "black", "grey"]
    asked = [f"Say {colour} {n} times." for n in range(1, 7) for colour in colours]
    pairs = [{"prompt": q, "chosen": f"{q[4:-1]}!", "rejected": f"No, not {q[4:-1]}."} for q in asked]
    talks = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": q}]} for q in asked
    ]
    write_rows(folder / "my_pairs.jsonl", pairs)
    names = {"prompt": "ask", "chosen": "good", "rejected": "bad"}
    write_rows(
        folder / "my_questions.jsonl", [{names[k]: v for k, v in p.items() if k in names} for p in pairs]
    )
    write_rows(folder / "my_conversations.jsonl.gz", talks)
    for name in ("my-prompts.jsonl", "seeds.jsonl", "prompts.jsonl"):
        write_rows(folder / name, [{"prompt": q} for q in asked])
    held_out = [{**pair, "prompt": pair["prompt"].replace("times", "times or more")} for pair in pairs]
    write_rows(folder / "held-out.jsonl", held_out)
    write_rows(folder / "answers-a.jsonl", [{"prompt": q, "answer": q} for q in asked])
    write_rows(folder / "answers-b.jsonl", [{"prompt": q, "answer": f"{q} Blue. {q}"} for q in asked])
    (folder / "scores.csv").write_text("system,k,n\nold,20,400\nnew,39,400\n")
    steps = [{"step": s, "loss": 0.6931, "rewards/margins": 0.0, "learning_rate": 2e-7} for s in range(1, 60)]
    (folder / "path/to/trl-output").mkdir()
    state = {"max_steps": 60, "log_history": steps}
    (folder / "path/to/trl-output/trainer_state.json").write_text(json.dumps(state))


def make_run(place: str) -> None:
    """A finished run, for pages that speak of one without saying how it was made."""
    recipe = {"method": {"name": "dpo"}, "optim": {"lr": 1e-3}, "data": {"train": "my_pairs.jsonl"}}
    recipe["model"] = {"name": "path/to/model", "lora": {"r": 2}}
    for change in SMALL_RUN:
        apply_override(recipe, change)
    boresight.train(recipe, run=place, quiet=True)


def smaller(raw: dict[str, Any]) -> dict[str, Any]:
    """A recipe of any kind as it is run here."""
    kinds = {"method": small_run, "systems": small_evaluation, "endpoints": small_synthesis}
    for change in next((make(raw) for key, make in kinds.items() if key in raw), []):
        apply_override(raw, change)
    return raw


def small_run(raw: dict[str, Any]) -> list[str]:
    """A tiny model in place of a real one, and data that is here in place of what is not."""
    model, data = raw.setdefault("model", {}), raw["data"]
    if model.get("name") != "countdown-tiny" and not Path(str(model.get("name"))).is_dir():
        model["name"] = "path/to/model"
    here = "my_conversations.jsonl.gz" if raw["method"]["name"] == "sft" else "my_pairs.jsonl"
    for part in ("train", "eval"):
        given = str(data.get(part) or "generate:")
        if not given.startswith("generate:") and not data_path(given).exists():
            data[part] = here
    samples = INPUT_KINDS[methods.get(raw["method"]["name"]).Input].samples
    rollout = [change for change in SMALL_ROLLOUT if samples == "group" or "k=" not in change]
    return [*SMALL_RUN, *(SMALL_REWARDED if raw.get("reward") else ()), *(rollout if samples else ())]


def small_evaluation(raw: dict[str, Any]) -> list[str]:
    """Prompts that are here, a tiny model, and a judge that can tell its answers apart."""
    given = str(raw.get("prompts") or "generate:")
    if not given.startswith("generate:") and not data_path(given).exists():
        raw["prompts"] = "held-out.jsonl"
    for system in raw["systems"].values():
        if "model" in system:
            system["model"] = "path/to/model"
    if "countdown" in raw:
        return SMALL_COUNTDOWN
    if "reward" in raw:
        raw.pop("rank_by", None)
        return SMALL_REWARD if any("model" in system for system in raw["systems"].values()) else []
    if raw["judge"]["name"] == "reward_model":
        raw["judge"] = {"name": "checks", "check": "tests.rewards:length"}
    return SMALL_EVALUATION


def small_synthesis(raw: dict[str, Any]) -> list[str]:
    """A tiny model in this process; endpoints elsewhere stay, since only dry runs speak of them."""
    for endpoint in raw["endpoints"].values():
        if "base_url" not in endpoint:
            endpoint["model"] = "path/to/model"
    for answers in raw["answers"].values():
        answers["max_tokens"] = 32
    if (raw.get("judge") or {}).get("name") == "checks":
        raw["judge"] = {"name": "checks", "check": "tests.rewards:length"}
    return SMALL_SYNTHESIS


@contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    """Inside, `folder` is the current one, its `src/` extends the package, and recipes are small."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("OPENAI_API_KEY", "none")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(sys, "path", [*sys.path, str(folder)])
        read = BaseRecipe.read
        patch.setattr(BaseRecipe, "read", lambda path, overrides=None: smaller(read(path, overrides)))
        number = count(1)
        patch.setattr(generated, "generate_problems", lambda n, **how: generate_problems(min(n, 24), **how))
        patch.setattr(generated, "all_problems", lambda *size, **how: all_problems(*size, **how)[:24])
        patch.setattr(run_folder, "default_folder", lambda path: Path("runs") / f"{path.stem}-{next(number)}")
        starter = starter_folder()  # in the cache folder set above, which subprocesses have as well
        starter.parent.mkdir(parents=True)
        starter.symlink_to(folder / "path/to/model")
        for package, place in ((methods, "methods"), (layouts, "data/layouts"), (judges, "scorers/judges")):
            patch.setattr(package, "__path__", [*package.__path__, str(folder / "src/boresight" / place)])
        layouts.all_layouts.cache_clear()
        known = set(sys.modules)
        try:
            yield
        finally:
            layouts.all_layouts.cache_clear()
            for name in set(sys.modules) - known:
                file = getattr(sys.modules[name], "__file__", None) or ""
                if file.startswith(str(folder)) or name.partition(".")[0] in ("my_losses", "my_rewards"):
                    del sys.modules[name]
            shutil.rmtree(folder / "cache", ignore_errors=True)
