"""Small runs of every method that tests kill, and what a killed run shares with one that was not."""

import json
import os
import subprocess
import sys
from pathlib import Path

from boresight import methods
from tests.tiny import tiny_model, tiny_tokenizer

TIMING = {"seconds", "tokens_per_second", "peak_memory_gb"}
LORA = {"r": 2, "dropout": 0.3}


def make_base(folder):
    """A tiny model, and nine rows of each kind: epochs of seven, two held out, end inside batches."""
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    demonstrations = [{"prompt": f"say {i}", "completion": "the answer " * (1 + i % 3)} for i in range(9)]
    pairs = [
        {"prompt": f"say {i}", "chosen": "green " * (1 + i % 3), "rejected": "red " * (1 + i % 2)}
        for i in range(9)
    ]
    for name, rows in {
        "demonstration": demonstrations,
        "preference": pairs,
        "labeled": [{**row, "label": i % 3 > 0} for i, row in enumerate(demonstrations)],
        "prompt": [{"prompt": f"say {i}"} for i in range(9)],
    }.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def small_recipe(base, method, lora, **train):
    """Six steps; dropout draws from the random state, where the trained model is not the one that samples."""
    from boresight.training.forward import INPUT_KINDS

    kind = INPUT_KINDS[methods.get(method).Input]
    lora = lora and {**lora, "dropout": 0.0 if kind.online else lora["dropout"]}
    reward = [{"function": "tests.rewards:counts_letters"}] if kind.online else []
    return {
        "method": {"name": method},
        "model": {"name": str(base), "lora": lora},
        "data": {"train": str(base / f"{kind.data}.jsonl"), "eval_rows": 2},
        "optim": {"lr": 0.01},
        "reward": reward,
        "rollout": {"k": 2, "max_new_tokens": 4} if kind.online else {},
        "train": {"batch": 3, "steps": 6, "eval_every": 2, **train},
        "evaluate": {"samples": 1, "max_new_tokens": 2, "rewarded": 1, "kl_rows": 2},
        "check": {"probes": 0, "allow": ["dropout-in-rollouts"]},
    }


def run_jobs(script, jobs, folder):
    """What a script that forks prints about jobs."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    root = Path(__file__).parents[2]
    place = {"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "jobs.json")],
        env={**os.environ, **place, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rstrip("\n").rpartition("\n")[2])


def lines(run):
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMING} for line in found]


def assert_same_run(whole, cut):
    """Final weights, every logged number but times, held-out results and answers; nothing half-written."""
    assert lines(cut) == lines(whole), cut
    files = [*whole.glob("model/*.safetensors"), *whole.glob("checkpoints/step-6/*.safetensors")]
    assert files
    for file in files:
        assert (cut / file.relative_to(whole)).read_bytes() == file.read_bytes(), (cut, file)
    for name in (
        "evaluation.json",
        "samples.jsonl",
        "config.yaml",
        "data.json",
        "end.json",
        "findings.jsonl",
    ):
        assert (cut / name).is_file() == (whole / name).is_file(), (cut, name)
        if (whole / name).is_file():
            assert text(cut, name) == text(whole, name), (cut, name)
    assert names(cut) == names(whole), cut


def text(run, name):
    """Of a file; findings name the folder in the command that they suggest."""
    return (run / name).read_text().replace(str(run), "RUN")


def names(run):
    """Of everything in a run folder and among its checkpoints."""
    return sorted(str(p.relative_to(run)) for place in (run, run / "checkpoints") for p in place.iterdir())
