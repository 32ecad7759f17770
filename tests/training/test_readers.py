"""Real processes whose output nobody reads any more save, exit by the code of the signal, and go on later."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
import yaml
from safetensors.torch import load_file

from tests.tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow
STEPS = 200


@pytest.fixture
def command(tmp_path):
    """The command line of a run of many short steps, and its folder."""
    tiny_model().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    rows = [{"prompt": f"say {i}", "completion": f"the answer {i}"} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "method": {"name": "sft"},
        "model": {"name": str(tmp_path / "model")},
        "data": {"train": str(tmp_path / "rows.jsonl"), "eval_rows": 4},
        "optim": {"lr": 1e-3},
        "train": {"batch": 4, "steps": STEPS, "eval_every": STEPS},
        "evaluate": {"samples": 0},
        "check": {"probes": 0},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    def of(run):
        return [sys.executable, "-m", "boresight", "train", str(tmp_path / "recipe.yaml"), "--run", str(run)]

    return of


def read_until_a_step(read):
    """Take output until the first step is named."""
    said = b""
    while b"grad_norm" not in said:
        said += read()


def through_a_pipe(command):
    """`boresight train … | head`: the reader leaves after the first step."""
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    read_until_a_step(running.stdout.readline)
    running.stdout.close()
    return running.wait(timeout=120)


def on_a_terminal(command):
    """The terminal is closed after the first step."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    read_until_a_step(lambda: os.read(terminal, 1000))
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(("leave", "codes"), [(through_a_pipe, {141}), (on_a_terminal, {129, 141})])
def test_a_run_whose_reader_leaves_goes_on_later_to_the_same_weights(leave, codes, command, tmp_path):
    assert leave(command(tmp_path / "cut")) in codes
    assert not (tmp_path / "cut" / "model").exists()
    for run in ("cut", "whole"):
        subprocess.run(command(tmp_path / run), check=True, capture_output=True, timeout=120)
    cut, whole = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("cut", "whole"))
    assert all(cut[name].equal(whole[name]) for name in whole)
    assert not list((tmp_path / "whole" / "checkpoints").glob("step-*"))
