"""The sections of a session on a lent GPU: limits, failures, what is written, and each program in small."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig

from boresight.core.files import write_json, write_jsonl
from boresight.models.reference.cache import cached_reference
from tests.models.plain_varlen import stand_in_for_flash
from tests.models.tiny_decoders import GROUPED, build, random_rows

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def part(monkeypatch):
    """A module of the package by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: importlib.import_module(f"gpu_session.{name}")


@pytest.fixture
def session(part, tmp_path):
    """A session of so many seconds that writes to `tmp_path`."""
    return lambda seconds=60.0: part("running").Session(tmp_path, tmp_path, seconds)


def python(part, name, program, limit=30.0):
    return part("running").Section(name, limit, (sys.executable, "-c", program, "{json}"), tail=2)


def written(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


WRITES = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('{\"speed\": 3}'); print('fast')"


def test_a_failing_section_is_named_with_its_last_lines_and_the_next_one_runs(part, session, tmp_path):
    going = session()
    going.run(python(part, "broken", "print('one'); print('two'); raise SystemExit('three')"))
    going.run(python(part, "fine", WRITES))
    part("running").write_summary(tmp_path, "measurements")
    broken, fine = written(tmp_path)
    assert (broken["status"], broken["tail"], broken["numbers"]) == (
        "failed: exit status 1",
        ["two", "three"],
        None,
    )
    assert (fine["status"], fine["tail"], fine["numbers"]) == ("ok", ["fast"], {"speed": 3})
    assert going.failed
    summary = (tmp_path / "summary.txt").read_text()
    assert summary.startswith("measurements: 2 sections, 1 failed: broken\n")
    assert "=== broken: failed: exit status 1\ntwo\nthree\n" in summary
    assert "one\ntwo\nthree" in (tmp_path / "log.txt").read_text()


def test_a_section_over_its_limit_is_ended_with_its_children_and_keeps_what_it_wrote(
    part, session, tmp_path, monkeypatch
):
    pid = tmp_path / "pid"
    wait = subprocess.Popen.wait

    def over_when_the_child_runs(process, limit=None):
        if limit is None:
            return wait(process)
        read_pid(pid)
        raise subprocess.TimeoutExpired(process.args, limit)

    monkeypatch.setattr(subprocess.Popen, "wait", over_when_the_child_runs)
    program = f"{WRITES}; import subprocess; subprocess.run([sys.executable, '-c', {sleeper(pid)!r}])"
    result = session().run(python(part, "hangs", program))
    assert result["status"] == "failed: stopped after 60 s" and result["numbers"] == {"speed": 3}
    assert has_ended(read_pid(pid))


def sleeper(pid):
    """A program that writes its process id to a file, whole, and sleeps."""
    return (
        "import os, pathlib, time; "
        f"part = pathlib.Path({str(pid) + '.part'!r}); part.write_text(str(os.getpid())); "
        f"part.rename({str(pid)!r}); time.sleep(600)"
    )


def read_pid(path):
    while not path.exists():
        os.sched_yield()
    return int(path.read_text())


def has_ended(pid):
    """Whether no such process runs; one that its parent has not waited for yet has ended too."""
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        if state == "S":  # asleep, and not about to die
            return False


def test_a_section_may_use_what_earlier_ones_left_but_not_what_later_ones_need(part, session):
    section = python(part, "quick", "", limit=10.0)
    assert session(60.0).run(section, later=20.0)["limit"] == pytest.approx(40, abs=1)
    assert session(60.0).run(section, later=55.0)["limit"] == pytest.approx(10, abs=1)
    late = session(5.0)
    assert late.run(section, later=20.0)["limit"] == pytest.approx(5, abs=1)
    over = session(0.5)
    assert over.run(section)["status"] == "not run: no time is left" and over.failed


def test_a_stopped_session_ends_the_section_that_runs(part, tmp_path):
    """As a `timeout` around it would stop it."""
    pid, kit = tmp_path / "pid", tmp_path / "kit"
    (kit / "starter").mkdir(parents=True)
    (kit / "starter" / "tokenizer.json").write_text("{}")
    program = (
        "import sys; from gpu_session import __main__ as m, plans, running; "
        f"s = running.Section('sleeps', 60, (sys.executable, '-c', {sleeper(pid)!r})); "
        "m.PLANS['runs'] = plans.Plan(60, lambda place: [s]); m.main()"
    )
    options = ["runs", "--tiny", "--out", str(tmp_path / "out"), "--kit", str(kit)]
    process = subprocess.Popen([sys.executable, "-c", program, *options], env=with_benchmarks())
    asleep = read_pid(pid)
    process.terminate()
    assert process.wait(60) == 1
    assert has_ended(asleep)


def with_benchmarks():
    return os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{BENCHMARKS}"}


@pytest.mark.parametrize(("name", "seconds"), [("measurements", 480), ("runs", 240)])
def test_the_limits_of_a_plan_add_up_to_its_time(part, name, seconds, tmp_path):
    plans = part("plans")
    for tiny in (True, False):
        sections = plans.PLANS[name].sections(plans.Place(tmp_path, tmp_path, "cpu", tiny))
        assert sum(section.limit for section in sections) == plans.PLANS[name].seconds == seconds
        assert len({section.name for section in sections}) == len(sections)


def test_the_settings_of_a_rehearsal_are_settings_of_the_recipes(part, tmp_path):
    """And those of the session: a misspelt one would cost a section there."""
    from boresight.config.recipe import Recipe

    plans = part("plans")
    for tiny in (True, False):
        for section in plans.runs(plans.Place(tmp_path, tmp_path, "cpu", tiny)):
            if "gpu_session.whole_run" in section.command:
                recipe, _, *settings = section.command[3:]
                assert Recipe.load(recipe, [setting for setting in settings if "=" in setting])


def test_tests_of_a_session_are_all_that_need_a_gpu(part, tmp_path):
    plans = part("plans")
    command = plans.tests(plans.Place(tmp_path, tmp_path, "cuda", False))
    files = {Path(part).name for part in command if part.endswith(".py")}
    assert files == {"test_attention.py", "test_gpu.py", "test_shared_prefix.py"} and "gpu" in command


def test_wheels_are_of_the_versions_that_the_package_is_tested_with():
    """TRL as in pyproject.toml, the others as in constraints.txt where that names them."""
    wheels = pins(BENCHMARKS / "gpu_session" / "wheels.txt")
    constraints = pins(ROOT / "constraints.txt")
    bench = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["bench"]
    assert [f"trl=={wheels['trl']}"] == bench
    common = wheels.keys() & constraints.keys()
    assert {"pydantic", "datasets"} <= common
    assert {name: wheels[name] for name in common} == {name: constraints[name] for name in common}


def pins(path):
    return dict(re.findall(r"^([\w-]+)==(\S+)$", path.read_text(), re.M))


def test_what_the_package_needs_and_the_machine_lacks(part):
    unmet = list(part("environment").unmet(["torch>=2.8", "torch>=99", "no-such-package>=1"]))
    assert unmet == [f"torch>=99 (has {version('torch')})", "no-such-package>=1 (missing)"]


@pytest.mark.parametrize("script", ["gpu_session.sh", "gpu_runs.sh"])
def test_a_script_without_its_kit_ends_with_a_sentence(script, tmp_path):
    command = ["bash", ROOT / "scripts" / script, "--kit", tmp_path, "--out", tmp_path / "out"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable}
    )
    assert done.returncode == 2 and "`make gpu-kit`" in done.stderr and not (tmp_path / "out").exists()


def test_results_of_another_session_are_not_mixed_in(part, tmp_path, monkeypatch, capsys):
    (tmp_path / "starter").mkdir()
    (tmp_path / "starter" / "tokenizer.json").write_text("{}")
    (tmp_path / "results.jsonl").write_text("")
    monkeypatch.setattr(sys, "argv", ["x", "runs", "--tiny", "--out", str(tmp_path), "--kit", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        part("__main__").main()
    assert "holds the results of another session" in capsys.readouterr().err


def test_differences_by_hand(part):
    """Gaps of 0, 0.4 and -0.3 nats over 16, 16 and 36 tokens.

    Mean 0.1 / 68. Variance of a token (0.16 / 16 + 0.09 / 36) / 3 = 0.0125 / 3. Largest 0.4 / sqrt(16).
    """
    gap, lengths = torch.tensor([0.0, 0.4, -0.3]).double(), torch.tensor([16, 16, 36])
    found = part("agreement").differences(gap, lengths, noise=0.06)
    assert found["equal"] == 1 and found["largest_nats"] == pytest.approx(0.4)
    assert found["mean_per_token"] == pytest.approx(0.1 / 68)
    assert found["token_sd"] == pytest.approx((0.0125 / 3) ** 0.5)
    assert found["largest_per_root_token"] == pytest.approx(0.1) and found["unexplained"] is None
    wrong = part("agreement").differences(gap + 8, lengths, noise=0.06)
    assert "rounding explains" in wrong["unexplained"]
    assert "NOT EXPLAINED" in part("agreement").sentence("shifted", wrong)


@pytest.mark.parametrize(("stored", "status"), [(0, 1), (6, 0)], ids=["a new cache", "all stored before"])
def test_a_second_run_must_find_its_reference_stored(part, tmp_path, monkeypatch, capsys, stored, status):
    """Rows in the cache of references are counted, and the run folder is read."""
    cache = tmp_path / "boresight" / "reference"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store(stored, cache)

    def train(command):
        store(6, cache)
        run = Path(command[command.index("--run") + 1])
        write_jsonl(run / "metrics.jsonl", [{"split": "train", "loss": 0.7, **SPEED}])
        metric = {"name": "accuracy", "before": {"value": 0.5}, "after": {"value": 0.75}}
        write_json(run / "evaluation.json", {"metrics": [metric]})
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", train)
    (tmp_path / "run").mkdir()
    arguments = ("demo", str(tmp_path / "run"), "a.b=1", "--stored", "--json", str(tmp_path / "x"))
    assert bool(call(part, monkeypatch, "whole_run", *arguments)) == bool(status)
    found = json.loads((tmp_path / "x").read_text())
    assert (found["stored_before"], found["stored_after"], found["peak_gb"]) == (stored, 6, 3.0)
    assert found["evaluation"] == {"accuracy": "0.5 -> 0.75"} and found["first_loss"] == 0.7
    assert part("whole_run").stored_rows() == 6


def test_steps_without_an_update_have_no_speed(part):
    """Float16 overflows in its first steps, and a rollout of equal rewards is skipped."""
    overflowed, skipped = (
        {"split": "train", "loss": 0.9, "overflowed": 1.0},
        {"split": "train", "skipped": 1.0},
    )
    update = {"split": "train", "loss": 0.7, **SPEED}
    slow = update | {"seconds": 9.0, "loss": 0.8}
    found = part("whole_run").training([skipped, overflowed, slow, skipped, update, skipped])
    assert (found["steps"], found["updates"], found["seconds_per_step"]) == (6, 2, 2.0)
    assert (found["first_loss"], found["last_loss"], found["peak_gb"]) == (0.9, 0.7, 3.0)
    with pytest.raises(SystemExit, match="not updated in any of 2 steps"):
        part("whole_run").training([skipped, overflowed])


SPEED = {"seconds": 2.0, "tokens_per_second": 100.0, "peak_memory_gb": 3.0}


def store(count, folder):
    if count:
        rows = random_rows(count, 2, seed=1)
        cached_reference(build(LlamaConfig(**GROUPED)), rows, 400, folder=folder)


@pytest.fixture
def tiny_model(part, tmp_path, monkeypatch):
    """Folder of a tiny model, written as a session writes its models, of fewer tokens."""
    monkeypatch.setitem(part("shapes").TINY, "vocab_size", 1024)
    call(part, monkeypatch, "shapes", "qwen2.5-0.5b", str(tmp_path / "model"))
    return str(tmp_path / "model")


def call(part, monkeypatch, name, *arguments):
    """Run a program in small on the CPU; its exit status."""
    monkeypatch.setattr(sys, "argv", [name, *arguments, "--device", "cpu", "--tiny"])
    try:
        part(name).main()
    except SystemExit as error:
        return error.code
    return 0


def test_environment_in_small(part, tmp_path, monkeypatch, capsys):
    """Rates of products and of a copy, and the commit that the kit was made at."""
    (tmp_path / "commit").write_text("abc123-dirty\n")
    status = call(part, monkeypatch, "environment", "--kit", str(tmp_path), "--json", str(tmp_path / "x"))
    found = json.loads((tmp_path / "x").read_text())
    assert not status and found["unmet"] == [] and found["kit made at"] == "abc123-dirty"
    assert set(found["ceilings"]) >= {"copy_tb_per_s", "bfloat16_tflops", "tf32_tflops", "launch_us"}
    assert min(found["ceilings"].values()) > 0
    assert "float32_tflops: " in capsys.readouterr().out


def test_agreement_in_small(part, tiny_model, tmp_path, monkeypatch, capsys):
    """On a CPU the same rows give the same numbers, whatever the forward, and float32 is close throughout."""
    monkeypatch.setattr(part("agreement"), "KINDS", ((5, 3), (7, 4)))
    assert not call(part, monkeypatch, "agreement", tiny_model, "--json", str(tmp_path / "x"))
    found = json.loads((tmp_path / "x").read_text())
    assert found["bfloat16, the same again"]["equal"] == found["bfloat16, the same again"]["completions"] == 8
    assert max(v["largest_nats"] for name, v in found.items() if name.startswith("float32")) < 1e-3
    assert "float32, the sampler" in capsys.readouterr().out


def test_a_kernel_is_counted_once(part):
    """An operation of 2 ms on the host launched two kernels of 1.5 ms; a range of the user's spans both."""
    on_host, on_device = torch.autograd.DeviceType.CPU, torch.autograd.DeviceType.CUDA
    events = [
        event("aten::mm", on_host, host=2000, device=3000),
        event("gemm", on_device, device=3000, count=2),
        event("Optimizer.step", on_device, device=9000, annotation=True),
    ]
    profile = part("step_profile")
    found = profile.shares(events, profile.CASES[0].smaller(), "cuda")
    assert (found["milliseconds"], found["host_milliseconds"], found["launches"]) == (3.0, 2.0, 2)
    assert found["kernels"] == [["gemm", 2, 3.0]]


def event(key, device_type, *, host=0, device=0, count=1, annotation=False):
    return SimpleNamespace(
        key=key,
        count=count,
        device_type=device_type,
        self_cpu_time_total=host,
        self_device_time_total=device,
        is_user_annotation=annotation,
    )


def test_profile_in_small(part, tiny_model, tmp_path, monkeypatch, capsys):
    assert not call(part, monkeypatch, "step_profile", tiny_model, "--json", str(tmp_path / "x"))
    found = json.loads((tmp_path / "x").read_text())
    assert found["tokens"] == 4 * (12 + 2 * 6) and found["milliseconds"] > 0
    assert any(name.startswith("aten::") for name, _, _ in found["kernels"])


def test_kernels_in_small(part, tiny_model, tmp_path, monkeypatch, capsys):
    """A CPU has no fast kernels for a step, which is printed. It runs head and decoding uncompiled."""
    assert not call(part, monkeypatch, "kernels", tiny_model, "--json", str(tmp_path / "x"))
    found = json.loads((tmp_path / "x").read_text())
    assert "the device is cpu" in found["fast"]["refused"] and "differences" not in found
    assert found["proven"]["milliseconds"] > 0 and found["proven"]["largest_log_ratio_at_step_0"] < 0.1
    out = capsys.readouterr().out
    assert "proven: " in out and "fast: skipped. model.kernels: " in out
    assert found["decoding"]["float32"]["equal"] == found["decoding"]["float32"]["samples"] == 12
    assert found["decoding"]["float32"]["largest_nats"] < 1e-4
    assert 0 < found["decoding"]["bfloat16"]["captures"] <= 2 < found["decoding"]["bfloat16"]["equal"]
    for head in ("trained", "frozen"):
        assert found["head"][head]["largest_nats"] < 1e-4 and found["head"][head]["gradient_share"] < 0.01
    assert "12 of 12 samples equal" in out and "frozen head: proven " in out


def test_kernels_take_turns_and_are_compared(part, tiny_model, tmp_path, monkeypatch, capsys):
    """With the fast ones written out: the same model, to the eight bits of bfloat16."""
    stand_in_for_flash(monkeypatch)
    assert not call(part, monkeypatch, "kernels", tiny_model, "--json", str(tmp_path / "x"))
    found = json.loads((tmp_path / "x").read_text())
    assert found["fast"]["tokens_per_second"] > 0
    assert 0 < found["differences"]["largest_nats"] < 0.2
    assert 0 < found["differences"]["gradient_share"] < 0.1
    assert "fast against proven: largest " in capsys.readouterr().out


def test_differences_between_kernels_by_hand(part):
    """Gaps of 0.4 over 16 tokens and -0.3 over 36: variance of a token (0.16 / 16 + 0.09 / 36) / 2. Gradients
    (3, 4) and (3, 4.5) are 0.5 of 5 apart."""
    proven = torch.tensor([[-5.0, -7.0]]).double(), [torch.tensor([3.0, 4.0])]
    fast = torch.tensor([[-4.6, -7.3]]).double(), [torch.tensor([3.0, 4.5])]
    found = part("kernels").differences(proven, fast, torch.tensor([[16, 36]]))
    assert found == pytest.approx(
        {"largest_nats": 0.4, "token_sd": (0.0125 / 2) ** 0.5, "gradient_share": 0.1}
    )


def test_peak_memory_in_small(part, tmp_path, monkeypatch, capsys):
    """Both ways of the backward give the same losses, ln 2 at first."""
    assert not call(part, monkeypatch, "peak_memory", "--json", str(tmp_path / "x"))
    found = json.loads((tmp_path / "x").read_text())
    assert found["recomputed"]["losses"][0] == pytest.approx(0.6931, abs=0.01)
    assert found["recomputed"]["estimated_gb"] <= found["kept"]["estimated_gb"]
    assert found["trained"] == 2 * 16 * (64 * 2 + 64 * 2 + (64 + 32) * 2)
