"""The two plans of a session: measurements, and whole runs. The limits add up to the time of a plan."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpu_session.running import Section

HERE = Path(__file__).parents[1]
TESTS = HERE.parent / "tests"
GPU_TEST = ("mark.gpu", "on_each_device")
"""Words of test files that have tests for a GPU."""


@dataclass(frozen=True)
class Place:
    """Where a session runs: a folder for models and runs, the kit, the device; in small for a rehearsal."""

    work: Path
    kit: Path
    device: str
    tiny: bool

    @property
    def options(self) -> tuple[str, ...]:
        """Options that every program of this package takes."""
        return ("--device", self.device, *(["--tiny"] if self.tiny else []))


@dataclass(frozen=True)
class Plan:
    """Sections that end within `seconds`."""

    seconds: float
    sections: Callable[[Place], list[Section]]


def measurements(place: Place) -> list[Section]:
    """What only the device can show, most valuable first."""
    model = str(place.work / "qwen")
    agreement = program(place, "agreement", model, "--json", "{json}")
    environment = program(place, "environment", "--kit", str(place.kit), "--json", "{json}")
    return [
        Section("environment", 30, environment, tail=20),
        Section("model", 25, program(place, "shapes", "qwen2.5-0.5b", model)),
        Section("tests", 100, tests(place), tail=25),
        Section("agreement", 45, agreement, tail=20),
        Section("profile", 30, program(place, "step_profile", model, "--json", "{json}"), tail=40),
        Section("kernels", 75, program(place, "kernels", model, "--json", "{json}")),
        *(Section(f"step-{name}", limit, step(place, name, model)) for name, limit in STEPS),
        Section("sampling", 30, sampling(place, model, "float32")),
        Section("sampling-bfloat16", 20, sampling(place, model, "bfloat16")),
    ]


STEPS = (("dpo", 45), ("sft", 35), ("rloo", 45))


def runs(place: Place) -> list[Section]:
    """Whole runs from the command line, and the memory of a large model."""
    model, run = str(place.work / "starter"), place.work / "runs"
    demo = ("demo", f"model.name={model}", "model.dtype=bfloat16", *(DEMO_TINY if place.tiny else ()))
    sft = ("countdown-tiny/sft", *(SFT_TINY if place.tiny else SFT_HALF))
    rloo = ("countdown-tiny/rloo", f"model.name={run / 'sft'}", *(RLOO_TINY if place.tiny else ()))
    shape = program(place, "shapes", "starter", model, "--kit", str(place.kit))
    return [
        Section("model", 15, shape),
        Section("demo", 45, whole_run(place, run / "demo", *demo), tail=25),
        Section("demo-again", 25, whole_run(place, run / "demo-again", *demo, "--stored"), tail=25),
        Section("countdown-sft", 75, whole_run(place, run / "sft", *sft), tail=25),
        Section("countdown-rloo", 45, whole_run(place, run / "rloo", *rloo), tail=25),
        Section("lora-8b", 35, program(place, "peak_memory", "--json", "{json}")),
    ]


SMALL_EVALUATION = ("evaluate.samples=4", "evaluate.max_new_tokens=4")
DEMO_TINY = ("train.steps=2", "train.eval_every=null", "data.eval_rows=4", *SMALL_EVALUATION)
SFT_HALF = ("train.steps=700",)
"""Half of the recipe, whose 59,135 demonstrations have to be made and read first."""
SFT_TINY = (
    "train.steps=4",
    "train.eval_every=null",
    "data.eval_rows=4",
    "evaluate.rewarded=8",
    *SMALL_EVALUATION,
)
RLOO_TINY = (
    "train.steps=2",
    "train.batch=4",
    "train.eval_every=null",
    "evaluate.rewarded=8",
    *SMALL_EVALUATION,
)

PLANS = {"measurements": Plan(480, measurements), "runs": Plan(240, runs)}


def program(place: Place, name: str, *arguments: str) -> tuple[str, ...]:
    """The command of a program of this package."""
    return (sys.executable, "-m", f"gpu_session.{name}", *arguments, *place.options)


def tests(place: Place) -> tuple[str, ...]:
    """The tests that need a GPU, and those alone of the files that have some: others need other packages."""
    files = sorted(
        str(path) for path in TESTS.rglob("test_*.py") if any(word in path.read_text() for word in GPU_TEST)
    )
    which = ("not gpu and not slow", "-k", "cpu") if place.tiny else ("gpu", "-n", "6")
    return (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", *which, *files)


def step(place: Place, method: str, model: str) -> tuple[str, ...]:
    """Steps of one method, beside TRL."""
    sizes = ("--repeats", "1", "--steps", "8", "--warm", "3")
    if place.tiny:
        sizes = ("--repeats", "1", "--steps", "3", "--warm", "1", "--threads", "1")
    where = ("--model", model, "--tokenizer", str(place.kit / "starter"), "--trl-python", sys.executable)
    return (
        *(sys.executable, str(HERE / "gpu.py"), "--only", method, "--json", "{json}"),
        *(*sizes, *where, *place.options),
    )


def sampling(place: Place, model: str, dtype: str) -> tuple[str, ...]:
    """256 completions of 128 tokens, beside transformers' `generate`."""
    sizes = ("--k", "32", "--max-new-tokens", "128", "--repeats", "2")
    where = ("--model", model, "--tokenizer", str(place.kit / "starter"), "--device", place.device)
    return (
        *(sys.executable, str(HERE / "rollout.py"), "--json", "{json}", "--dtype", dtype),
        *(*where, *(("--quick",) if place.tiny else sizes)),
    )


def whole_run(place: Place, run: Path, recipe: str, *settings: str) -> tuple[str, ...]:
    """`boresight train` on the device of the session."""
    return program(place, "whole_run", recipe, str(run), *settings, "--json", "{json}")
