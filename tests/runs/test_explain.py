"""Post-mortems: of a run folder, and of the log that TRL leaves behind."""

from __future__ import annotations

import json
import math
import shlex

import pytest

from boresight.checks.forecast.expectation import SMALL_MARGIN
from boresight.cli.main import main
from boresight.core.errors import UserError
from boresight.findings.finding import warning
from boresight.findings.history import History
from boresight.findings.trl_log import derived_beta, read_trainer_state
from boresight.reports.read_run import Metric, without_refuted_forecast
from boresight.runs.explain import explain, got_worse, not_resolved, rows_lost, spent_budget
from boresight.stats.intervals import Interval
from tests.checks import builders as b
from tests.reports.fake_run import write_fake_run


def write_run(folder, recipe, lines, rows=400, train=None):
    """A finished run folder with this log."""
    folder.mkdir()
    (folder / "model").mkdir()
    (folder / "config.yaml").write_text(recipe.to_yaml())
    counts = {"train": {"rows": 5000, "kept": 5000, "dropped": 0, "truncated": 0}, "eval": {"kept": rows}}
    counts["train"] |= train or {}
    (folder / "data.json").write_text(json.dumps(counts))
    text = "".join(json.dumps({"step": s, "split": k} | n) + "\n" for s, k, n in lines)
    (folder / "metrics.jsonl").write_text(text)
    return folder


def flat_log():
    return b.log(
        208,
        loss=lambda t: 0.692,
        accuracy=lambda t: 0.51,
        lr_sum=lambda t: 2.1e-5 * t,
        held_accuracy=lambda t: 0.51,
        held_margin=lambda t: 0.05 * t,
    )


def test_a_flat_run_is_explained_by_its_budget(tmp_path):
    settings = ("method.beta=0.05", "optim.lr=2e-7", "train.batch=24")
    recipe = b.recipe("dpo", *settings, model={"name": "Qwen/Qwen2.5-0.5B"})
    found = explain(write_run(tmp_path / "flat", recipe, flat_log())).findings
    assert [f.name for f in found[:2]] == ["learning-rate-budget", "not-learning"]  # cause, then symptom
    assert "2.1e-05 over 208 steps" in found[0].why
    # the sum of 62 times is reached over several runs: the command raises the rate 10 times
    assert "3 nats take 62 times as much, a sum of 1.3e-03, by a higher rate or more steps" in found[0].fix
    assert found[0].fix.endswith("; raise the rate at most 10 times from one run to the next.")
    assert "0.51 [0.46, 0.56]" in found[1].why


def test_a_sound_run_is_left_alone(tmp_path):
    done = explain(write_fake_run(tmp_path / "sound"))
    assert [f.name for f in done.findings if f.severity == "error"] == []
    assert any("significant" in sentence for sentence in done.outcome)


def test_lost_rows_are_counted(tmp_path):
    recipe = b.recipe("dpo", model={"name": "Qwen/Qwen2.5-0.5B"})
    run = write_run(tmp_path / "cut", recipe, b.log(900, loss=lambda t: 0.5), train={"dropped": 2400})
    assert "2,400 of 5,000" in next(f for f in explain(run).findings if f.name == "rows-lost").why


def trainer_state(folder, beta=0.1, rate=2e-7, learns=False):
    """What TRL's DPOTrainer logs: beta times log-ratios as rewards; every tenth step, and two evaluations."""
    history = []
    for step in range(10, 201, 10):
        margin = step / 40 if learns else step / 4000
        history.append(
            {
                "step": step, "epoch": step / 200, "loss": 0.69, "grad_norm": 1.2, "learning_rate": rate,
                "rewards/margins": beta * margin, "rewards/accuracies": 0.75 if learns else 0.5,
                "rewards/chosen": beta * margin / 2, "rewards/rejected": -beta * margin / 2,
            }
        )  # fmt: skip
        if step % 100 == 0:
            accuracy = 0.7 if learns else 0.5
            chosen = -beta * step / 50
            history.append(
                {
                    "step": step, "eval_loss": 0.69, "eval_rewards/accuracies": accuracy,
                    "eval_rewards/margins": beta * margin, "eval_rewards/chosen": chosen,
                    "eval_logps/chosen": -200 - step / 50, "eval_runtime": 3.0,
                }
            )  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps({"max_steps": 200, "log_history": history}))
    return folder


def test_a_trl_log_is_read_in_nats_and_explained(tmp_path):
    """200 steps at 2e-7 sum to 4e-5. Chosen reward and log-probability fall by 0.2 and 2, so beta is 0.1."""
    done = explain(trainer_state(tmp_path / "trl"))
    assert done.findings[0].name == "learning-rate-budget"
    assert "sum to 4.0e-05" in done.findings[0].why
    assert "Beta is 0.1; margins are in nats." in done.outcome
    lines, facts = read_trainer_state(tmp_path / "trl" / "trainer_state.json")
    margins = [n["margin"] for _, split, n in lines if split == "train"]
    assert margins[-1] == pytest.approx(200 / 4000)
    assert facts.steps == 200


def test_beta_is_for_a_log_of_trl_on_pairs_and_above_0(tmp_path):
    state = trainer_state(tmp_path / "trl") / "trainer_state.json"
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UserError, match=r"^--beta: .* is not a number above 0\.$"):
            explain(state, beta=wrong)
    with pytest.raises(UserError, match="--beta is for the log of a TRL run on pairs; leave it out"):
        explain(write_run(tmp_path / "run", b.recipe("dpo"), [(1, "train", {"loss": 0.69})]), beta=0.1)
    state.write_text(json.dumps({"log_history": [{"step": 1, "loss": 2.0, "learning_rate": 1e-4}]}))
    with pytest.raises(UserError, match="--beta is for the log of a TRL run on pairs; leave it out"):
        explain(state, beta=0.1)
    assert explain(state).outcome


def test_a_trl_run_that_learns_is_left_alone(tmp_path):
    done = explain(trainer_state(tmp_path / "trl", rate=5e-6, learns=True))
    assert [f.name for f in done.findings if f.severity != "note"] == []


def test_a_second_evaluation_set_changes_no_finding_and_is_stated(tmp_path):
    """The same log, and at each evaluation a second set on which the run learns nothing."""
    alone = explain(trainer_state(tmp_path / "trl", rate=5e-6, learns=True))
    state = tmp_path / "trl" / "trainer_state.json"
    held = json.loads(state.read_text())
    history = []
    for line in held["log_history"]:
        if "eval_loss" in line:
            line["eval_math_loss"], line["eval_math_runtime"] = (
                line.pop("eval_loss"),
                line.pop("eval_runtime"),
            )
            second = {"eval_chat_loss": 0.693, "eval_chat_runtime": 3.0, "eval_rewards/margins": 0.0}
            history += [line, {"step": line["step"], "eval_rewards/accuracies": 0.5} | second]
        else:
            history.append(line)
    state.write_text(json.dumps(held | {"log_history": history}))
    both = explain(tmp_path / "trl")
    assert (both.findings, both.looked_for) == (alone.findings, alone.looked_for)
    assert set(both.outcome) - set(alone.outcome) == {
        "Held-out numbers are those of 'math', one of 2 evaluation sets."
    }


def test_beta_cannot_be_derived_from_one_evaluation():
    assert derived_beta([{"eval_rewards/chosen": 0.1, "eval_logps/chosen": -3}]) is None


def test_what_is_no_run_is_said(tmp_path):
    (tmp_path / "trainer_state.json").write_text("{}")
    with pytest.raises(UserError, match="no log_history"):
        explain(tmp_path)
    (tmp_path / "trainer_state.json").write_text('{"log_history": []}')
    with pytest.raises(UserError, match="no training step"):
        explain(tmp_path)
    with pytest.raises(UserError, match="no such run folder"):
        explain(tmp_path / "nowhere")


def test_what_got_worse_and_what_cannot_be_told_are_kept_apart():
    """-0.10 [-0.15, -0.05] is significant and bad; +0.01 [-0.04, 0.06] is neither."""

    def accuracy(value, low, high):
        difference = Interval(value, low, high, 400)
        return Metric("accuracy", "accuracy", None, None, difference, unit="share")

    worse, unknown = accuracy(-0.1, -0.15, -0.05), accuracy(0.01, -0.04, 0.06)
    assert got_worse(worse).why == "Accuracy got worse, by -10.0 points [-15.0, -5.0] on 400."
    assert not_resolved(worse) is None and got_worse(unknown) is None
    assert not_resolved(unknown).severity == "note"
    assert "of accuracy, +1.0 point [-4.0, 6.0] on 400, is not" in not_resolved(unknown).why
    assert got_worse(accuracy(0.1, 0.05, 0.15)) is None


@pytest.mark.parametrize(
    "train",
    [5, {"rows": "many", "dropped": 9}, {"rows": 10, "dropped": "9"}, {"rows": 10**400, "dropped": 9}],
)
def test_counts_of_rows_that_are_none_are_no_loss(train):
    assert rows_lost({"train": train}) is None


@pytest.mark.parametrize(("share", "too_short"), [(1.0, False), (0.99, True)])
def test_report_and_explanation_have_one_limit_of_a_small_margin(share, too_short):
    """At 1 nat the forecast is refuted and the log has no such finding; just below, both remain."""
    margin = share * SMALL_MARGIN
    history = History(steps=200)
    history.add(200, "train", {"lr_sum": 1e-5})
    assert (spent_budget(history, margin) is not None) == too_short
    forecast = warning("learning-rate-budget", "why", "fix")
    kept = without_refuted_forecast([forecast], [{"split": "eval", "margin": margin}])
    assert bool(kept) == too_short


@pytest.mark.parametrize(
    ("margin", "curves"),
    [
        (0.0, {"margin": 8.0, "accuracy": 1.0, "held_accuracy": 0.5}),
        (-5.0, {"held_accuracy": 0.2}),
        (-0.3, {"held_accuracy": 0.3}),
        (0.2, {"reward": 0.6}),
    ],
    ids=["memorized", "reversed", "worse than chance", "sampled pairs"],
)
def test_a_sum_of_rates_that_moved_the_policy_elsewhere_is_not_too_small(margin, curves):
    history = History(steps=200, eval_rows=400)
    for split in ("train", "eval"):
        prefix = "held_" if split == "eval" else ""
        numbers = {
            n.removeprefix("held_"): v for n, v in curves.items() if n.startswith("held_") == bool(prefix)
        }
        history.add(200, split, numbers | ({"lr_sum": 1e-4} if split == "train" else {}))
    assert spent_budget(history, margin) is None
    assert spent_budget(logged_sum(), margin) is not None or margin < -1


def logged_sum():
    history = History(steps=200)
    history.add(200, "train", {"lr_sum": 1e-4})
    return history


def test_margins_of_another_unit_are_no_nats(tmp_path):
    """SimPO's margin is in nats per token, of which 3 is absurd."""
    log = b.log(60, lr_sum=lambda t: 1e-4 * t, held_margin=lambda t: 0.2 * t, held_accuracy=lambda t: 0.5)
    for name, expected in (("dpo", True), ("simpo", False)):
        found = explain(write_run(tmp_path / name, b.recipe(name, "optim.lr=2e-7"), log)).findings
        assert ("at this pace" in " ".join(f.fix.lower() for f in found)) == expected


def test_a_run_that_was_stopped_is_not_taken_for_a_short_one(tmp_path):
    """5,000 rows at batch 32 are 157 steps, of which the guard let 20 pass."""
    recipe = b.recipe("dpo", "train.batch=32")
    log = b.log(20, loss=lambda t: 0.69, lr_sum=lambda t: 1e-4 * t)
    run = write_run(tmp_path / "run", recipe, log)
    assert recipe.train.steps is None
    names = {finding.name for finding in explain(run).findings}
    assert "few-steps" not in names and not any("ahead" in name for name in names)
    (run / "data.json").unlink()
    assert "few-steps" in {finding.name for finding in explain(run).findings}


def zero_log(steps=200):
    """A log in which no token of an answer is scored: all log-probabilities are exactly 0."""
    names = ("chosen_logps", "rejected_logps", "chosen_logratio", "rejected_logratio", "margin", "accuracy")
    return b.log(steps, loss=lambda t: 0.6931, **dict.fromkeys(names, lambda t: 0.0))


def memorized_log(steps=200):
    """Training accuracy rises to 1 while held-out accuracy stays at one half."""
    return b.log(
        steps,
        loss=lambda t: 0.69 - 0.6 * t,
        margin=lambda t: 8 * t,
        accuracy=lambda t: 0.5 + 0.5 * t,
        held_accuracy=lambda t: 0.5,
        held_margin=lambda t: 0.0,
    )


def test_rows_without_a_scored_token_get_the_command_that_makes_room(tmp_path):
    """The limit of the recipe, 512 tokens, is doubled in a run of its own."""
    recipe = b.recipe("dpo", "data.max_length=512", model={"name": "Qwen/Qwen2.5-0.5B"})
    done = explain(write_run(tmp_path / "zero", recipe, zero_log()))
    assert done.commands["nothing-scored"] == (
        f"boresight train {tmp_path / 'zero/config.yaml'} --run runs/zero-next data.max_length=1024"
    )


def constant_log(steps=100):
    return b.log(steps, loss=lambda t: 0.0, reward=lambda t: 0.1, zero_variance=lambda t: 1.0)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (("rollout.k=32", "rollout.temperature=1.5"), "rollout.k=64"),
        (("rollout.k=4",), "rollout.temperature=1.2 rollout.k=8"),
    ],
)
def test_a_command_raises_what_its_fix_raises(tmp_path, settings, changes):
    """The values are those of the run, which may have more samples or a higher temperature than usual."""
    sections = {"reward": [{"function": "length"}], "model": {"name": "Qwen/Qwen2.5-0.5B"}}
    done = explain(write_run(tmp_path / "run", b.recipe("rloo", *settings, **sections), constant_log()))
    assert done.commands["reward-constant-live"].endswith(f" --run runs/run-next {changes}")


def displaced_log(steps=200):
    return b.log(
        steps,
        loss=lambda t: 0.69 - 0.3 * t,
        margin=lambda t: 8 * t,
        held_margin=lambda t: 8 * t,
        held_chosen_logratio=lambda t: -30 * t,
        held_accuracy=lambda t: 0.5 + 0.3 * t,
    )


@pytest.mark.parametrize(("weight", "tried"), [("0", "0.2"), ("1", "2")])
def test_a_likelihood_term_that_is_there_gets_more_weight(tmp_path, weight, tried):
    recipe = b.recipe("dpo", f"method.sft_weight={weight}", model={"name": "Qwen/Qwen2.5-0.5B"})
    done = explain(write_run(tmp_path / "run", recipe, displaced_log()))
    assert done.commands["likelihood-displacement"].endswith(f" method.sft_weight={tried}")


def test_memorized_labels_get_the_command_that_prints_rows(tmp_path):
    """A check would print nothing new: the labels have to be read."""
    settings = ("data.train=my pairs.jsonl", "model.chat_template=chatml")
    recipe = b.recipe("dpo", *settings, model={"name": "Qwen/Qwen2.5-0.5B"})
    done = explain(write_run(tmp_path / "run", recipe, memorized_log()))
    assert done.commands["memorizing"] == (
        "boresight data show 'my pairs.jsonl' --model Qwen/Qwen2.5-0.5B --chat-template chatml --rows 20"
    )


def test_the_command_that_prints_rows_reads_them_as_the_run_did(tmp_path, monkeypatch, capsys):
    """Without the mapping, the layout and the system turns as in the run, it fails or prints other rows."""
    monkeypatch.chdir(tmp_path)
    row = {"system": "Be brief.", "ask": "q", "response": "old", "chosen": "a", "rejected": "b"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    data = {"layout": "plain_pairs", "columns": {"prompt": "ask"}, "score": "last", "system": "fold"}
    recipe = b.recipe("dpo", data={"train": "pairs.jsonl", **data}, model={"name": "countdown-tiny"})
    command = explain(write_run(tmp_path / "run", recipe, memorized_log())).commands["memorizing"]
    assert command == (
        "boresight data show pairs.jsonl --model countdown-tiny --layout plain_pairs "
        "--columns '{prompt: ask}' --score last --system fold --rows 20"
    )
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and "1 system turn folded" in said and "(data.score=last)" in said
