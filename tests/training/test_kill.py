"""The theorem with real kills: a run that is killed with -9 at any instant, and goes on, was never killed.

Seven rows in batches of three: epochs end inside batches. Dropout draws from the random state. Compared are
final weights, optimiser and random states, every logged number but times, held-out results and answers.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from boresight import methods
from tests.tiny import tiny_model, tiny_tokenizer

SCRIPT = Path(__file__).with_name("kill_runs.py")
TIMING = {"seconds", "tokens_per_second", "peak_memory_gb"}
LORA = {"r": 2, "dropout": 0.3}
SOME = [("dpo", LORA), ("sft", None), ("reward", LORA), ("rloo", None), ("xpo", LORA)]
ALL = [(name, lora) for name in methods.names() for lora in (None, LORA)]


def counts_letters(prompts, completions, rows):
    return [float(len(set(text))) for text in completions]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
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
        "prompt": [{"prompt": f"say {i}"} for i in range(9)],
    }.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def recipe(base, method, lora):
    from boresight.training.forward import INPUT_KINDS

    kind = INPUT_KINDS[methods.get(method).Input]
    reward = [{"function": f"{__name__}:counts_letters"}] if kind.online else []
    return {
        "method": {"name": method},
        "model": {"name": str(base), "lora": lora},
        "data": {"train": str(base / f"{kind.data}.jsonl"), "eval_rows": 2},
        "optim": {"lr": 0.01},
        "reward": reward,
        "rollout": {"k": 2, "max_new_tokens": 4},
        "train": {"batch": 3, "steps": 6, "save_every": 1, "eval_every": 2},
        "evaluate": {"samples": 1, "max_new_tokens": 2, "rewarded": 1, "kl_rows": 2},
        "check": {"probes": 0, "allow": ["dropout-in-rollouts"]},
    }


def kill(base, tmp_path, cases, kills):
    """Run every case in one process that forks; returns the folders to compare."""
    jobs = [
        {"recipe": recipe(base, *case), "home": str(tmp_path / str(i)), "kills": kills, "seed": i}
        for i, case in enumerate(cases)
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    place = {"PYTHONPATH": str(SCRIPT.parents[2]), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "jobs.json")],
        env={**os.environ, **place, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    met = json.loads(done.stdout.splitlines()[-1])
    print(f"\nsteps logged at the kills: {[[steps for _, steps in one] for one in met]}")
    assert [len(one) for one in met] == [kills] * len(cases)
    return [Path(job["home"]) for job in jobs]


def lines(run):
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMING} for line in found]


def assert_same_run(whole, cut):
    assert lines(cut) == lines(whole), cut
    files = [*whole.glob("model/*.safetensors"), *whole.glob("checkpoints/step-6/*.safetensors")]
    assert len(files) == 2
    for file in files:
        assert (cut / file.relative_to(whole)).read_bytes() == file.read_bytes(), file
    for name in ("evaluation.json", "samples.jsonl", "config.yaml", "data.json"):
        if (whole / name).is_file():
            assert (cut / name).read_text() == (whole / name).read_text(), cut / name
    left = sorted(p.name for p in (cut / "checkpoints").iterdir())
    assert left == ["step-5", "step-6"]  # the newest two, and nothing half-written


def check(base, tmp_path, cases, kills):
    for home in kill(base, tmp_path, cases, kills):
        cuts = sorted(home.glob("cut-*"))
        assert cuts
        for cut in cuts:
            if (cut / "evaluation.json").is_file():
                assert_same_run(home / "whole", cut)


def test_five_kills(base, tmp_path):
    check(base, tmp_path, SOME, kills=1)


@pytest.mark.nightly
def test_fifty_kills(base, tmp_path):
    check(base, tmp_path, ALL, kills=-(-50 // len(ALL)))
