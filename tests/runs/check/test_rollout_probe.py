"""What rollouts of the start model say before a method that samples is run."""

from __future__ import annotations

import io
import json
import math
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from boresight.checks.run.rollouts import SampledStart, rewards_tie
from boresight.config.recipe import Recipe
from boresight.data.prepare import DatasetCache
from boresight.runs.check.probe import check_by_probe
from boresight.runs.check.rollout_probe import RolloutProbe, probe_rollouts, sampled_start, signal_to_noise
from boresight.stats.intervals import Interval
from boresight.training.loop import Batch
from tests.tiny import tiny_model, tiny_tokenizer

QUIET = Console(quiet=True)


def pays_nothing(prompts, completions, rows):
    return [0.0] * len(completions)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    rows = "".join(json.dumps({"prompt": f"say {i}"}) + "\n" for i in range(100))
    (folder / "prompts.jsonl").write_text(rows)
    return folder


def recipe(place, reward, method="rloo") -> Recipe:
    return Recipe.parse(
        {
            "method": {"name": method},
            "model": {"name": str(place), "lora": {"r": 2}},
            "data": {"train": str(place / "prompts.jsonl"), "eval_rows": 4},
            "optim": {"lr": 1e-3},
            "reward": [{"function": reward}],
            "rollout": {"k": 4, "max_new_tokens": 6},
            "train": {"batch": 16},
            "evaluate": {"samples": 0, "rewarded": 2},
        }
    )


@pytest.mark.parametrize("method", ["rloo", "grpo", "xpo", "online_dpo"])
def test_rewards_that_differ_have_a_signal(place, method):
    probed = probe_rollouts(recipe(place, "tests.rewards:counts_letters", method), DatasetCache(), QUIET)
    assert probed.start.unequal.n == 64 and probed.start.unequal.value > 0.5
    assert probed.start.per_prompt == (4 if method in ("rloo", "grpo") else 2)
    assert math.isfinite(probed.signal_to_noise) and probed.seconds > 0
    assert rewards_tie(probed.start) is None


@pytest.mark.parametrize("method", ["rloo", "online_dpo"])
def test_a_batch_that_is_larger_than_the_data_counts_the_prompts_that_were_drawn(place, method):
    """One pass over the 96 prompts that train is one batch of 96, though train.batch is 128."""
    raw = recipe(place, "tests.rewards:counts_letters", method).to_dict()
    raw["train"]["batch"] = 128
    probed = probe_rollouts(Recipe.parse(raw), DatasetCache(), QUIET)
    assert probed.start.unequal.n == 96 and probed.start.unequal.value > 0.5


@pytest.mark.parametrize("method", ["rloo", "xpo"])
def test_rewards_that_are_all_equal_are_an_error_before_the_run(place, method):
    said = io.StringIO()
    raw = recipe(place, f"{__name__}:pays_nothing", method).to_dict()
    raw["check"]["allow"] = ["reward-constant"]  # found already, and without sampling
    found = check_by_probe(Recipe.parse(raw), Console(file=said, width=80), ["mine.yaml"])
    tie = next(finding for finding in found.findings if finding.name == "rewards-tie")
    assert tie.severity == "error" and tie.why.startswith("Nothing to learn: 100 % of 64 prompts")
    assert found.stop is not None and "no gradient" in said.getvalue()
    assert found.load.measured.source.startswith("rollouts of the start model")
    steps = found.forecast.steps
    assert found.load.measured.seconds / steps > 0 and found.load.memory_gb > 0


def test_equal_rewards_can_be_allowed(place):
    raw = recipe(place, f"{__name__}:pays_nothing").to_dict()
    raw["check"]["allow"] = ["reward-constant", "rewards-tie"]
    found = check_by_probe(Recipe.parse(raw), Console(file=io.StringIO(), width=80), ["mine.yaml"])
    tie = next(finding for finding in found.findings if finding.name == "rewards-tie")
    assert tie.severity == "warning" and found.stop is None


def test_replayed_pairs_are_not_counted_as_drawn(place):
    """Two rollouts of 32 prompts with 5 unequal pairs each; the second batch repeats the 5 of the first."""
    row = SimpleNamespace(scores=[0.0, 1.0])
    numbers = {"verifier_calls": 64.0, "reward": 0.5}
    first = Batch([row] * 5, numbers, [])
    second = Batch([row] * 10, numbers | {"verifier_calls": 128.0, "replayed": 5.0}, [])
    found = sampled_start(recipe(place, "tests.rewards:counts_letters", "xpo"), [first, second])
    assert (found.unequal.value, found.unequal.n) == (10 / 64, 64)


def test_few_unequal_rewards_are_a_warning():
    """4 of 32 with an upper limit of 29 %: something is learned from an eighth of the prompts."""
    few = SampledStart(Interval(0.125, 0.035, 0.29, n=32), reward=0.1, per_prompt=8)
    assert rewards_tie(few).severity == "warning" and rewards_tie(few).why.startswith("88 % of 32 prompts")
    assert rewards_tie(SampledStart(Interval(0.2, 0.1, 0.3, n=32), 0.1, 8)) is None


def test_signal_to_noise_by_hand(monkeypatch):
    """Halves (3, 1) and (3, -1): their product is 8, and |(0, 2)|²/4 = 1 is noise."""
    gradients = iter([torch.tensor([3.0, 1.0]), torch.tensor([3.0, -1.0])])
    monkeypatch.setattr("boresight.runs.check.rollout_probe.flat_gradient", lambda *_: next(gradients))
    assert signal_to_noise(None, ["a", "b"]) == pytest.approx(8.0)
    assert math.isnan(signal_to_noise(None, ["a"]))


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(0.5, "1 takes about 32"), (-0.1, "none is seen"), (math.nan, "no gradient")],
)
def test_the_number_of_prompts_for_a_signal_is_said(ratio, words):
    """16 prompts at one half: twice as many have a signal as large as the noise."""
    said = io.StringIO()
    start = SampledStart(Interval(0.5, 0.3, 0.7, n=32), reward=0.1, per_prompt=8)
    RolloutProbe(start, sampling=2.0, gradient=1.0, signal_to_noise=ratio, batch=16).show(
        Console(file=said, width=80)
    )
    assert words in said.getvalue()
