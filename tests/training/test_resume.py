"""Resuming is a theorem: 2k steps equal k steps, an interruption and a resumption, to the bit."""

import errno
import io
import json
import os
import random
import signal
import subprocess
import sys
from contextlib import nullcontext
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load, save
from transformers import AutoModelForCausalLM

from boresight.cli.streams import TolerantStream
from boresight.config.recipe import Recipe
from boresight.core import interrupt
from boresight.core.errors import UserError
from boresight.core.interrupt import Interrupted, listening
from boresight.runs.train import run_to_end, run_training
from boresight.training import loop
from boresight.training.checkpoints import checkpoint, random_state, space
from boresight.training.checkpoints.timer import CheckpointTimer
from boresight.training.loop import run_steps
from tests.models.families import config_of
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.fixtures import make_task, ten_demonstrations
from tests.training.test_loop import LM_METHODS


def test_a_run_cut_after_its_last_checkpoint_logs_its_last_evaluation_once(tmp_path):
    """It had been evaluated and saved; what is left is the model folder and the report."""
    settings = ("train.batch=3", "train.steps=4", "train.save_every=2", "train.eval_every=2")
    task = make_task(tmp_path, "dpo", *settings)
    run_steps(task)
    before = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    again = make_task(tmp_path, "dpo", *settings)
    found = run_steps(again, tmp_path / "checkpoints" / "step-4")
    after = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert after == before and found["margin"]


class Halt(Exception):
    """Stands in for a kill: nothing after it runs."""


def halt_at(task, step):
    """Make the task die when it asks for the rows of `step`."""
    batches = task.batches

    class Dying:
        steps = batches.steps

        def batch(self, number):
            if number == step:
                raise Halt
            return batches.batch(number)

    task.batches = Dying()
    return task


def weights(task):
    return {name: p.detach().clone() for name, p in task.policy.named_parameters()}


def train_lines(run):
    """What was logged of training, apart from how long it took."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timing = {"seconds", "tokens_per_second", "peak_memory_gb"}
    return [{k: v for k, v in line.items() if k not in timing} for line in lines if line["split"] == "train"]


@pytest.mark.parametrize("method", LM_METHODS)
def test_interrupted_and_resumed_is_uninterrupted(tmp_path, method):
    """Seven rows, batches of three, five steps: an epoch ends inside a batch, before and after the kill."""
    settings = ("train.batch=3", "train.steps=5", "train.save_every=2")
    whole = make_task(tmp_path / "whole", method, *settings, rows=7)
    run_steps(whole)
    killed = halt_at(make_task(tmp_path / "cut", method, *settings, rows=7), step=3)
    with pytest.raises(Halt):
        run_steps(killed)
    resumed = make_task(tmp_path / "cut2", method, *settings, rows=7)
    found = checkpoint.latest_sound(tmp_path / "cut")
    assert found.name == "step-2"
    run_steps(resumed, found)
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name
    assert train_lines(tmp_path / "cut2") == train_lines(tmp_path / "whole")[2:]


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    task = make_task(tmp_path, "sft", "train.batch=3", "train.steps=4", "train.save_every=1", "train.keep=3")
    run_steps(task)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-2", "step-3", "step-4"]
    state = tmp_path / "checkpoints/step-4/state.safetensors"
    state.write_bytes(state.read_bytes()[:-1] + b"\xff")
    assert checkpoint.latest_sound(tmp_path).name == "step-3"
    (tmp_path / "checkpoints/step-3/state.json").write_text("{")
    assert checkpoint.latest_sound(tmp_path).name == "step-2"


@pytest.mark.parametrize("number", interrupt.SIGNALS)
def test_a_signal_saves_and_stops_after_the_step(tmp_path, number):
    task = make_task(tmp_path, "sft", "train.batch=3", "train.steps=4")
    ask = task.batches.batch

    class Signalled:
        steps = 4

        def batch(self, step):
            if step == 1:
                os.kill(os.getpid(), number)
            return ask(step)

    task.batches = Signalled()
    with pytest.raises(
        Interrupted, match=r"stopped after step 2 of 4; `boresight train \S+` resumes it\."
    ) as stopped:
        run_steps(task)
    assert stopped.value.number == number
    assert checkpoint.latest_sound(tmp_path).name == "step-2"


def test_without_a_setting_a_checkpoint_is_written_when_the_clock_says_so(tmp_path, monkeypatch):
    """The clock is read once a step and twice a save, and 200 seconds pass between readings."""
    seconds = count(0, 200)
    monkeypatch.setattr(loop, "CheckpointTimer", lambda: CheckpointTimer(lambda: float(next(seconds))))
    monkeypatch.setattr("boresight.training.checkpoints.timer.TIMES_ITS_COST", 1.0)
    run_steps(make_task(tmp_path, "sft", "train.batch=3", "train.steps=5"))
    assert [checkpoint.step_of(folder) for folder in checkpoint.newest_first(tmp_path)] == [4, 2]


def test_checkpoints_cost_at_most_a_fiftieth_of_the_time():
    """A save that takes 2 s waits for five minutes; one that takes 20 s for 1,000 s."""
    now = [0.0]
    timer = CheckpointTimer(lambda: now[0])
    for cost, interval in ((2.0, 300.0), (20.0, 1000.0)):
        with timer.saving():
            now[0] += cost
        assert timer.interval == interval and not timer.due
        now[0] += interval - 0.5
        assert not timer.due
        now[0] += 0.5
        assert timer.due


def test_the_first_signal_is_answered_at_once_and_the_second_ends_the_process(capfd):
    with listening("stopping") as stop:
        assert not stop.made
        signal.raise_signal(signal.SIGINT)
        assert stop.made and capfd.readouterr().err == "\nstopping\n"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == ""


def test_a_reader_that_leaves_asks_for_a_stop():
    class Closed(io.StringIO):
        def write(self, text):
            raise OSError(errno.EPIPE, "Broken pipe")

    with listening():
        pass
    with pytest.raises(BrokenPipeError):
        TolerantStream(Closed()).write("text")
    stream = TolerantStream(Closed())
    with listening() as stop:
        assert stream.write("step 1") == 6 and stream.write("step 2") == 6
        stream.flush()
    assert stop.made and stop.number == interrupt.SIGPIPE
    TolerantStream(Closed()).write("the run is stopping and says so")


def test_a_disk_without_room_for_checkpoints_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    """Two kept and one being written, of weights and two moments in float32; two models of the guard.

    3 × 12 and 2 × 4 bytes a parameter.
    """
    task = make_task(tmp_path, "sft", "train.batch=3", "train.steps=4")
    parameters = sum(p.numel() for p in task.policy.parameters())
    assert space.checkpoint_gb(task.policy) == pytest.approx(12 * parameters / 1e9)
    for free, refused in ((44 * parameters - 1000, True), (44 * parameters + 1000, False)):
        monkeypatch.setattr("shutil.disk_usage", lambda place, free=free: SimpleNamespace(free=free))
        with pytest.raises(UserError, match=f"{tmp_path}: .* are free") if refused else nullcontext():
            space.refuse_full_disk(tmp_path / "new" / "run", task.recipe.train, task.policy)


@pytest.mark.parametrize("family", ["Mixtral", "DeepSeek V2", "MiniMax: lightning attention", "Llama"])
def test_weights_that_are_saved_under_other_names_are_all_resumed(tmp_path, family):
    """transformers holds the experts of a layer in one tensor and saves them one by one."""
    torch.manual_seed(0)
    trained = AutoModelForCausalLM.from_config(config_of(family))
    optimizer = torch.optim.AdamW(trained.parameters())
    checkpoint.save_state(tmp_path / "step-1", trained, tiny_tokenizer(), optimizer, {"step": 1})
    again = AutoModelForCausalLM.from_config(config_of(family))
    checkpoint.load_state(tmp_path / "step-1", again, torch.optim.AdamW(again.parameters()))
    for (name, here), there in zip(trained.named_parameters(), again.parameters(), strict=True):
        assert here.equal(there), name


def test_a_parameter_that_was_never_updated_is_resumed_without_moments(tmp_path):
    """As experts that no token was sent to: without a gradient Adam keeps nothing of them."""
    used, unused = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    model = tiny_model()
    optimizer = torch.optim.AdamW([unused, used])
    used.grad = torch.ones(2)
    optimizer.step()
    checkpoint.save_state(tmp_path / "step-1", model, tiny_tokenizer(), optimizer, {"step": 1})
    again = torch.optim.AdamW([unused, used])
    assert checkpoint.load_state(tmp_path / "step-1", model, again)["step"] == 1
    assert unused not in again.state
    torch.testing.assert_close(again.state[used]["exp_avg"], optimizer.state[used]["exp_avg"])


def test_every_generator_goes_on_where_it_was():
    """The first normal number of two is drawn, so that both libraries hold the second back."""

    def draw():
        drawn = [random.gauss(0, 1), random.random(), np.random.normal(), np.random.random()]
        return [*drawn, torch.rand(1).item()]

    draw()
    kept = random_state.states(torch.device("cpu"))
    expected = draw()
    random_state.restore(load(save(kept)), torch.device("cpu"))
    assert draw() == expected


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def recipe(tmp_path):
    return yaml.safe_dump(
        ten_demonstrations(
            tmp_path,
            model={"lora": {"r": 2, "dropout": 0.3}},
            train={"save_every": 1},
            evaluate={"samples": 2, "max_new_tokens": 3},
        )
    )


def parsed(text, **optim):
    raw = yaml.safe_load(text)
    raw["optim"] |= optim
    return Recipe.parse(raw)


def cut_short(recipe, folder, monkeypatch, *, before):
    """Begin a run that dies before step number `before`, counted from 0."""
    step = loop.take_step

    def dying(task, optimizer, number, rate):
        if number == before:
            raise Halt
        return step(task, optimizer, number, rate)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", dying)
        with pytest.raises(Halt):
            run_training(recipe, folder, Console(quiet=True))


def test_a_run_folder_resumes_to_the_same_evaluation_with_dropout(tmp_path, recipe, monkeypatch):
    """Dropout draws from the random state, so equality shows that the state was saved and restored."""
    quiet = Console(quiet=True)
    run_training(parsed(recipe), tmp_path / "whole", quiet)
    cut_short(parsed(recipe), tmp_path / "cut", monkeypatch, before=3)
    for resume in (True, False):
        with pytest.raises(UserError, match=r"the recipe differs in optim.lr \(0.01 there, 0.02 here\)"):
            run_training(parsed(recipe, lr=0.02), tmp_path / "cut", quiet, resume=resume)
    run_training(parsed(recipe), tmp_path / "cut", quiet, resume=True)
    assert train_lines(tmp_path / "cut") == train_lines(tmp_path / "whole")
    for name in ("evaluation.json", "samples.jsonl"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()
    for resume in (True, False):
        with pytest.raises(UserError, match="this run is finished"):
            run_training(parsed(recipe), tmp_path / "cut", quiet, resume=resume)
    with pytest.raises(UserError, match="there is no run to resume"):
        run_training(parsed(recipe), tmp_path / "nowhere", quiet, resume=True)


def test_starting_again_in_the_same_folder_goes_on_and_says_so(tmp_path, recipe, monkeypatch):
    cut_short(parsed(recipe), tmp_path / "cut", monkeypatch, before=2)
    said = io.StringIO()
    run_training(parsed(recipe), tmp_path / "cut", Console(file=said, width=500))
    assert f"{tmp_path / 'cut'}: resuming the run there after step 2." in said.getvalue().splitlines()
    run_training(parsed(recipe), tmp_path / "whole", Console(quiet=True))
    assert train_lines(tmp_path / "cut") == train_lines(tmp_path / "whole")


def test_other_data_under_the_same_name_is_named_and_the_run_stays_as_it_is(tmp_path, recipe, monkeypatch):
    cut_short(parsed(recipe), tmp_path / "cut", monkeypatch, before=2)
    before = (tmp_path / "cut/metrics.jsonl").read_text()
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"prompt": "one more", "completion": "row"}\n')
    with pytest.raises(UserError, match=r"the data differs in .*train.rows \(8 there, 9 here\)"):
        run_training(parsed(recipe), tmp_path / "cut", Console(quiet=True))
    assert (tmp_path / "cut/metrics.jsonl").read_text() == before


def test_what_is_no_run_is_left_as_it_is(tmp_path, recipe):
    for name, text in (("notes.txt", "mine"), ("config.yaml", "systems: {a: {model: b}}")):
        other = tmp_path / name.partition(".")[0]
        other.mkdir()
        (other / name).write_text(text)
        with pytest.raises(UserError, match="exists but holds no run"):
            run_training(parsed(recipe), other, Console(quiet=True))
        assert [path.name for path in other.iterdir()] == [name]


HOLDER = """
import sys
from pathlib import Path
from boresight.runs.training_folder import TrainingFolder
with TrainingFolder(Path(sys.argv[1])) as folder:
    folder.lock()
    print("taken", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_is_at_is_left_alone(tmp_path, recipe, monkeypatch):
    """Going on would rewind its log. The lock ends with the process, however that ends."""
    cut_short(parsed(recipe), tmp_path / "cut", monkeypatch, before=2)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "cut")], **pipes)
    assert holder.stdout.readline() == b"taken\n"
    for call in (run_training, run_to_end):
        with pytest.raises(UserError, match="another process is training here"):
            call(parsed(recipe), tmp_path / "cut", Console(quiet=True))
    assert len(train_lines(tmp_path / "cut")) == 2
    holder.kill()
    holder.communicate()
    run_training(parsed(recipe), tmp_path / "cut", Console(quiet=True))
    assert len(train_lines(tmp_path / "cut")) == 4
