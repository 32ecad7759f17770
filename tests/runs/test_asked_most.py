"""The questions that people ask most of their runs, on logs as they were reported, of boresight and TRL.

Each situation is one of a public issue, named beside it, with numbers of our own. `explain` must name the
cause first, whoever wrote the log, and must leave healthy logs alone.
"""

from __future__ import annotations

import io
import json
import math

import pytest
import yaml
from rich.console import Console

from boresight.findings.trl_log import SCALED, name_in_trl
from boresight.runs.explain import explain

STEPS, BETA = 100, 0.1


def noise(t, size=1.0):
    """Between -size and size, without a trend."""
    return size * math.sin(997 * t)


def pairs(**curves):
    """A log of pairs: what every one has, and these curves."""
    usual = {"loss": lambda t: 0.69, "grad_norm": lambda t: 1.0 + noise(t, 0.2), "lr": lambda t: 1e-6}
    return usual | {name: curve for name, curve in curves.items() if curve}


def samples(**curves):
    """A log of sampled answers; a policy-gradient loss is near 0 whatever happens."""
    usual = {
        "loss": lambda t: noise(t, 1e-4),
        "grad_norm": lambda t: 0.5 + noise(t, 0.1),
        "lr": lambda t: 1e-6,
        "truncated": lambda t: 0.02,
        "zero_variance": lambda t: 0.2,
        "sampled_len": lambda t: 300 + noise(t, 20),
    }
    return usual | curves


def learned(t):
    return 6 * (1 - math.exp(-3 * t))


ZERO = dict.fromkeys(("chosen_logratio", "rejected_logratio", "margin", "accuracy"), lambda t: 0.0)
FALLEN = {
    "loss": lambda t: 0.69 - 0.39 * min(1, 2 * t),
    "chosen_logratio": lambda t: -24 * min(1, 2 * t),
    "rejected_logratio": lambda t: -109 * min(1, 2 * t),
    "margin": lambda t: 85 * min(1, 2 * t),
    "accuracy": lambda t: 0.5 + 0.38 * min(1, 2 * t),
    "lr": lambda t: 5e-5,
}
SITUATIONS = {
    # the loss does not move
    "trl#1311, llms_tool#46: adapters are not in the forward pass": (
        pairs(**ZERO, chosen_logps=lambda t: -77 + noise(t), rejected_logps=lambda t: -95 + noise(t)),
        "rewards-stay-zero",
    ),
    "ETO#14: the prompt fills the maximum length": (
        pairs(**ZERO, chosen_logps=lambda t: 0.0, rejected_logps=lambda t: 0.0),
        "nothing-scored",
    ),
    "LlamaFactory#5325: a rate of 1e-7": (
        pairs(
            lr=lambda t: 1e-7,
            margin=lambda t: 0.02 * t + noise(t, 0.01),
            accuracy=lambda t: 0.5 + noise(t, 0.1),
            chosen_logratio=lambda t: 0.01 * t,
            rejected_logratio=lambda t: -0.01 * t,
        ),
        "learning-rate-budget",
    ),
    "trl#1447: NaN": (
        pairs(loss=lambda t: 0.6 if t < 0.1 else math.nan, margin=lambda t: 0.1),
        "not-finite",
    ),
    # chosen rewards fall
    "direct-preference-optimization#36, #8, #32, trl#800, LlamaFactory#6153": (
        pairs(**FALLEN),
        "chosen-falls",
    ),
    # the reward is stuck
    "trl#5697, #3452: a limit of 256 tokens": (
        samples(
            reward=lambda t: 0.0,
            zero_variance=lambda t: 1.0,
            truncated=lambda t: 1.0,
            sampled_len=lambda t: 256.0,
            loss=lambda t: 0.0,
        ),
        "answers-truncated",
    ),
    "ms-swift#4789: no sample is ever right": (
        samples(reward=lambda t: 0.0, zero_variance=lambda t: 1.0),
        "reward-constant-live",
    ),
    "trl#3903, open-r1#235: form without the answer": (
        samples(
            reward=lambda t: min(1, 2 * t),
            reward_format=lambda t: min(1, 2 * t),
            reward_accuracy=lambda t: 0.0,
        ),
        "reward-hacking",
    ),
    "unsloth#2291, verl#538: it goes up and down": (
        samples(reward=lambda t: -10 + noise(t, 8)),
        "reward-stuck",
    ),
    # the KL explodes
    "open-r1#255, #257, #373, ms-swift#6550": (
        samples(
            reward=lambda t: (0.9 + 0.3 * t if t < 0.7 else 0.0) + noise(t, 0.05),
            kl=lambda t: 1e-4 + 0.03 * t**2 if t < 0.7 else 40 * t,
        ),
        "kl-explodes",
    ),
    "trl#235, #925, LlamaFactory#664: sampled with other settings": (
        samples(reward=lambda t: t + noise(t, 0.1), kl=lambda t: -5 + noise(t)),
        "kl-negative",
    ),
    "ZeroSearch#23, Search-R1#89: collapse, no KL in the log": (
        samples(reward=lambda t: (0.2 + 0.4 * t if t < 0.8 else 0.05) + noise(t, 0.02)),
        "reward-fell",
    ),
    # answers get shorter
    "VLM-R1#280, open-r1#465": (
        samples(reward=lambda t: 0.3 + 0.3 * t, sampled_len=lambda t: 750 - 500 * t),
        "length-drift",
    ),
}
HEALTHY = {
    "DPO": pairs(
        loss=lambda t: math.log1p(math.exp(-BETA * learned(t))),
        margin=lambda t: learned(t) + noise(t, 0.5),
        accuracy=lambda t: 0.5 + 0.04 * learned(t),
        chosen_logratio=lambda t: -0.1 * learned(t),
        rejected_logratio=lambda t: -1.1 * learned(t),
        lr=lambda t: 5e-6,
    ),
    "GRPO whose form is right from the start": samples(
        reward=lambda t: 1.2 + 0.4 * t + noise(t, 0.1),
        reward_format=lambda t: 1.0,
        reward_accuracy=lambda t: 0.2 + 0.4 * t + noise(t, 0.1),
        kl=lambda t: 0.3 * t**2,
    ),
    "RLOO that learns to end": samples(
        reward=lambda t: 0.33 + 0.3 * t + noise(t, 0.03),
        truncated=lambda t: 0.6 - 0.5 * t,
        sampled_len=lambda t: 1600 - 1100 * t,
        kl=lambda t: 4 * t**2,
    ),
}


def values(curves, step):
    found = {name: float(curve(step / STEPS)) for name, curve in curves.items()}
    return found | {"lr_sum": sum(curves["lr"](s / STEPS) for s in range(1, step + 1))}


def trl_log(folder, curves, beta=BETA):
    """The curves as TRL writes them: its names, and rewards of pairs times beta."""
    history = []
    for step in range(1, STEPS + 1):
        line = {"step": step, "epoch": step / STEPS}
        for name, value in values(curves, step).items():
            theirs = f"rewards/{name[7:]}/mean" if name.startswith("reward_") else name_in_trl(name)
            line[theirs] = value * beta if name in SCALED else value
        history.append(line)
    folder.mkdir()
    (folder / "trainer_state.json").write_text(json.dumps({"max_steps": STEPS, "log_history": history}))
    return folder


def run_folder(folder, curves):
    """The curves as boresight writes them."""
    method = "rloo" if "reward" in curves else "dpo"
    recipe = {
        "method": {"name": method},
        "model": {"name": "nowhere/no-model-of-this-name"},
        "data": {"train": "pairs.jsonl"},
        "optim": {"lr": curves["lr"](0.5)},
        "train": {"steps": STEPS},
    }
    (folder / "model").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "data.json").write_text(json.dumps({"train": {"rows": 900}, "eval": {"kept": 0}}))
    lines = [{"step": step, "split": "train"} | values(curves, step) for step in range(1, STEPS + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def of_the_log(done):
    """Findings but those that the recipe alone gives rise to."""
    planned = {"learning-rate-budget", "few-rollouts", "few-steps", "kl-without-effect", "kl-too-strong"}
    return [f for f in done.findings if f.severity != "note" and (f.name not in planned or f.numbers)]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_cause_comes_first_in_a_log_of_trl(situation, tmp_path):
    curves, name = SITUATIONS[situation]
    done = explain(trl_log(tmp_path / "trl", curves), beta=BETA if SCALED & curves.keys() else None)
    assert done.findings[0].name == name, [str(f) for f in done.findings]
    assert (
        any(f"see {name}" in line or f"and {name}" in line for line in done.looked_for)
        or name == "not-finite"
    )
    # the log does not contain the number of generations, which the last two would raise
    if name not in ("reward-hacking", "length-drift", "reward-constant-live", "zero-variance-groups"):
        assert done.commands[name].startswith(("trl ", "boresight check ", "boresight data show "))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_cause_comes_first_in_a_log_of_ours(situation, tmp_path):
    curves, name = SITUATIONS[situation]
    done = explain(run_folder(tmp_path / "run", curves))
    assert of_the_log(done)[0].name == name, [str(f) for f in done.findings]
    assert all(str(tmp_path / "run" / "config.yaml") in command for command in done.commands.values())


@pytest.mark.parametrize("case", HEALTHY)
def test_healthy_logs_are_left_alone(case, tmp_path):
    beta = BETA if SCALED & HEALTHY[case].keys() else None  # a log without pairs has no use for it
    given = explain(trl_log(tmp_path / "trl", HEALTHY[case]), beta=beta)
    without_beta = explain(tmp_path / "trl")
    ours = of_the_log(explain(run_folder(tmp_path / "run", HEALTHY[case])))
    assert [str(f) for f in [*given.findings, *without_beta.findings, *ours] if f.severity != "note"] == []


def test_what_a_log_lacks_is_unknown_and_called_by_its_name(tmp_path):
    said = explain(trl_log(tmp_path / "trl", HEALTHY["DPO"])).looked_for
    assert "The reward is stuck: unknown, this log has too few values of reward, or none." in said
    assert any(line.startswith("Answers get shorter") and "completions/mean_length" in line for line in said)
    said = explain(trl_log(tmp_path / "grpo", HEALTHY["RLOO that learns to end"])).looked_for
    assert any(line.startswith("Chosen rewards fall: unknown") and "rewards/chosen" in line for line in said)
    assert any("a policy-gradient loss stays near 0 by its formula" in line for line in said)


def test_without_beta_nothing_is_said_in_nats(tmp_path):
    """Rewards of -2.4 and a margin of 8.5 may be 24 and 85 nats: how far that is cannot be told."""
    done = explain(trl_log(tmp_path / "trl", pairs(**FALLEN)))
    assert [(f.name, f.severity) for f in done.findings] == [("chosen-falls", "note")]
    assert "2.4 (beta times nats) less likely" in done.findings[0].why


def test_an_explanation_keeps_to_eighty_columns(tmp_path):
    done = explain(trl_log(tmp_path / "trl", SITUATIONS["trl#5697, #3452: a limit of 256 tokens"][0]))
    console = Console(file=io.StringIO(), width=200)
    done.show(console)
    lines = console.file.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80 and console.width == 200
    assert any("$ trl grpo --config CONFIG.yaml --max_completion_length 512" in line for line in lines)
    assert "Looked for" in [line.strip() for line in lines]


def test_a_finding_that_has_passed_is_a_note(tmp_path):
    """All groups equal for ten steps, not afterwards: at the end this is no cause of anything."""
    curves = samples(reward=lambda t: 0.2 + 0.5 * t, zero_variance=lambda t: 1.0 if 0.2 < t < 0.3 else 0.2)
    done = explain(trl_log(tmp_path / "trl", curves))
    assert {(f.name, f.severity) for f in done.findings} == {
        ("reward-constant-live", "note"),
        ("zero-variance-groups", "note"),
    }
    assert done.findings[0].why.startswith("At step 25, no longer at the end: for five")
