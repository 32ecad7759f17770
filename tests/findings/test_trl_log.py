"""A trainer_state.json by hand: names, units and the sum of rates."""

from __future__ import annotations

import json
import math
import os

import pytest

from boresight.core.errors import UserError
from boresight.findings.trl_log import derived_beta, read_trainer_state, trainer_state_in


def written(tmp_path, history, **more):
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps({"log_history": history} | more))
    return file


def evaluated(step, reward, logp):
    return {
        "step": step,
        "eval_rewards/chosen": reward,
        "eval_logps/chosen": logp,
        "eval_rewards/margins": 0.2,
    }


def test_a_line_stands_for_the_steps_since_the_one_before(tmp_path):
    """Rates of 1e-5 over 10 steps and 2e-5 over 5 more: 1e-4 and 2e-4."""
    history = [
        {"step": 10, "loss": 0.69, "learning_rate": 1e-5},
        {"step": 15, "loss": 0.6, "learning_rate": 2e-5},
        {"step": 15, "train_runtime": 3.0},
        {"loss": 1.0},
    ]
    lines, facts = read_trainer_state(written(tmp_path, history, max_steps=40))
    assert [(step, split) for step, split, _ in lines] == [(10, "train"), (15, "train")]
    assert [numbers["lr_sum"] for _, _, numbers in lines] == pytest.approx([1e-4, 2e-4])
    assert (facts.steps, facts.eval_rows, facts.beta) == (40, 200, None)
    assert read_trainer_state(written(tmp_path, history))[1].steps == 15
    assert read_trainer_state(written(tmp_path, []))[1].steps == 0


def test_a_log_in_another_order_has_the_same_sum_of_rates(tmp_path):
    """1e-5 over 10 steps and 2e-5 over 5 more."""
    history = [{"step": 15, "learning_rate": 2e-5}, {"step": 10, "learning_rate": 1e-5}]
    lines, _ = read_trainer_state(written(tmp_path, history))
    assert [(step, numbers["lr_sum"]) for step, _, numbers in lines] == [
        (10, pytest.approx(1e-4)),
        (15, pytest.approx(2e-4)),
    ]


def test_rewards_become_nats_by_beta_and_shares_stay(tmp_path):
    """0.5 at beta 0.1 is 5 nats."""
    line = {
        "step": 1,
        "rewards/margins": 0.5,
        "rewards/accuracies": 0.5,
        "rewards/chosen": -0.25,
        "loss": True,
    }
    file = written(tmp_path, [line])
    ((_, _, numbers),), facts = read_trainer_state(file, beta=0.1)
    assert numbers == {"margin": 5.0, "accuracy": 0.5, "chosen_logratio": -2.5} and facts.beta == 0.1
    ((_, _, unscaled),), _ = read_trainer_state(file)
    assert unscaled["margin"] == 0.5


def test_beta_is_the_change_of_the_reward_over_that_of_the_log_probability(tmp_path):
    """From (0, -100) the furthest is (-1, -120): beta 0.05, so a margin of 0.2 is 4 nats."""
    history = [evaluated(0, 0.0, -100.0), evaluated(5, -1.0, -120.0), evaluated(9, -0.4, -110.0)]
    assert derived_beta(history) == pytest.approx(0.05)
    lines, facts = read_trainer_state(written(tmp_path, history))
    assert facts.beta == pytest.approx(0.05)
    assert lines[1][:2] == (5, "eval") and lines[1][2]["margin"] == pytest.approx(4.0)


def test_of_several_evaluation_sets_the_first_is_read(tmp_path):
    """TRL 1.16 writes the name before the loss and the times alone, so both sets have the same metrics."""
    of_set = {"math": (0.5, 0.60), "chat": (0.1, 0.69)}
    history = [
        {"step": step, f"eval_{name}_loss": loss, f"eval_{name}_runtime": 2.0, "eval_rewards/margins": margin}
        for step in (0, 5)
        for name, (margin, loss) in of_set.items()
    ]
    lines, facts = read_trainer_state(written(tmp_path, history), beta=0.1)
    assert [(step, numbers) for step, _, numbers in lines] == [
        (0, {"loss": 0.60, "margin": 5.0}),
        (5, {"loss": 0.60, "margin": 5.0}),
    ]
    assert facts.eval_sets == ("math", "chat")


def test_metrics_that_have_the_name_of_their_set(tmp_path):
    line = {"step": 1, "eval_my_set_loss": 0.6, "eval_my_set_rewards/accuracies": 0.75}
    ((_, split, numbers),), facts = read_trainer_state(written(tmp_path, [line]))
    assert (split, numbers, facts.eval_sets) == ("eval", {"loss": 0.6, "accuracy": 0.75}, ())


def test_a_metric_that_ends_in_loss_is_no_set(tmp_path):
    line = {"step": 1, "eval_loss": 0.6, "eval_aux_loss": 0.1}
    ((_, _, numbers),), _ = read_trainer_state(written(tmp_path, [line]))
    assert numbers == {"loss": 0.6}


@pytest.mark.parametrize(
    "history",
    [
        [evaluated(0, 0.0, -100.0)],
        [evaluated(0, 0.0, -100.0), evaluated(5, 0.01, -99.95)],  # rounding
        [evaluated(0, 0.5, -100.0), evaluated(5, 0.5, -110.0)],  # of no change
        [evaluated(0, 0.0, -100.0), evaluated(5, 0.5, -110.0)],  # of another sign
        [evaluated(0, 0.0, -100.0), {"step": 5, "eval_rewards/chosen": 1.0}],
    ],
)
def test_beta_is_not_guessed(history):
    assert derived_beta(history) is None


def test_beta_from_a_run_that_starts_with_a_reward():
    """From (0.5, -100) to (1.5, -90) and back to (0.4, -101): 1 / 10, by the furthest."""
    history = [evaluated(0, 0.5, -100.0), evaluated(9, 0.4, -101.0), evaluated(5, 1.5, -90.0)]
    assert derived_beta(history) == pytest.approx(0.1)
    history = [evaluated(0, 1.0, -1.0), evaluated(5, 0.0, -21.0), evaluated(9, 2.5, 29.0)]
    assert derived_beta(history[:2]) == pytest.approx(0.05) and derived_beta(history) == pytest.approx(0.05)
    assert (
        derived_beta([evaluated(0, 0.0, -10.0), evaluated(5, -1.5, -25.0), evaluated(9, 1.0, 10.0)]) == 0.05
    )


def test_the_smallest_change_that_gives_beta():
    assert derived_beta([evaluated(0, 0.0, -100.0), evaluated(5, 0.025, -99.875)]) == pytest.approx(0.2)


@pytest.mark.parametrize("odd", ["-1.5", None, [1.0], math.nan, math.inf, True, 10**400])
def test_what_is_no_number_is_no_number_of_the_log(tmp_path, odd):
    """NaN stays, since a loss that is not finite is a finding; it gives neither a beta nor a spread."""
    history = [evaluated(0, 0.0, -100.0), evaluated(5, odd, -110.0), evaluated(odd, 1.0, -90.0)]
    history += [{"step": 6, "reward": 0.5, "reward_std": odd, "loss": odd}]
    lines, facts = read_trainer_state(written(tmp_path, history))
    assert facts.beta is None and [step for step, _, _ in lines] == [0, 5, 6]
    assert "zero_variance" not in lines[2][2]
    assert ("loss" in lines[2][2]) == isinstance(odd, float)


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"log_history": 3}', '{"log_history": [3]}'])
def test_what_is_no_log_is_refused(tmp_path, text):
    file = tmp_path / "trainer_state.json"
    file.write_text(text)
    with pytest.raises(UserError, match="not a trainer_state"):
        read_trainer_state(file)


def test_logs_of_samples_have_parts_kl_and_entropy(tmp_path):
    """KTO's `kl` is its reference point: only beside a reward is it the KL of samples."""
    line = {
        "step": 1,
        "reward": 0.5,
        "reward_std": 0.0,
        "rewards/format_reward/mean": 1.0,
        "rewards/format_reward/std": 0.0,
        "rewards/old_reward": 0.25,
        "kl": 0.1,
        "entropy": 0.7,
        "completion_length": 99.0,
        "completions/clipped_ratio": 0.5,
    }
    ((_, _, numbers),), _ = read_trainer_state(written(tmp_path, [line]))
    assert numbers == {
        "reward": 0.5, "zero_variance": 1.0, "reward_format_reward": 1.0, "reward_old_reward": 0.25,
        "kl": 0.1, "logp_per_token": -0.7, "sampled_len": 99.0, "truncated": 0.5,
    }  # fmt: skip
    kto = {"step": 1, "rewards/chosen": 0.0, "kl": 0.3, "entropy": 0.7}
    ((_, _, numbers),), _ = read_trainer_state(written(tmp_path, [kto]))
    assert numbers == {"chosen_logratio": 0.0}


@pytest.mark.parametrize(
    ("more", "share"), [({"reward_std": 0.2}, 0.0), ({"frac_reward_zero_std": 0.75}, 0.75)]
)
def test_groups_without_a_spread_in_older_and_newer_logs(tmp_path, more, share):
    ((_, _, numbers),), _ = read_trainer_state(written(tmp_path, [{"step": 1, "reward": 0.5} | more]))
    assert numbers["zero_variance"] == share


def test_rewards_of_methods_without_a_reference_are_no_log_ratios(tmp_path):
    """CPO logs 0.1 times log-probabilities of -200: no answer is 200 nats less likely than before."""

    def line(step, chosen, rejected, prefix=""):
        numbers = {"logps/chosen": chosen, "logps/rejected": rejected, "rewards/chosen": 0.1 * chosen,
                   "rewards/rejected": 0.1 * rejected, "rewards/margins": 0.1 * (chosen - rejected),
                   "rewards/accuracies": 0.7}  # fmt: skip
        return {"step": step} | {prefix + name: value for name, value in numbers.items()}

    log = [line(1, -200.0, -210.0), line(2, -199.0, -212.0), line(2, -201.0, -211.0, "eval_")]
    lines, facts = read_trainer_state(written(tmp_path, log))
    assert facts.without_reference and facts.beta is None
    assert lines[0][2] == {"accuracy": 0.7, "chosen_logps": -200.0, "rejected_logps": -210.0}
    assert lines[2][2] == lines[0][2] | {"chosen_logps": -201.0, "rejected_logps": -211.0}


@pytest.mark.parametrize("first", [(0.0, 0.0), (0.02, -0.05), (-0.004, -0.0041)])
def test_rewards_of_log_ratios_are_kept(tmp_path, first):
    """At its first step DPO's rewards are about 0, with a log-probability of -200."""
    chosen, rejected = first
    log = {"step": 1, "logps/chosen": -200.0, "logps/rejected": -250.0, "rewards/chosen": chosen,
           "rewards/rejected": rejected, "rewards/margins": chosen - rejected}  # fmt: skip
    ((_, _, numbers),), facts = read_trainer_state(written(tmp_path, [log]))
    assert not facts.without_reference and numbers["chosen_logratio"] == chosen


def test_the_latest_checkpoint_is_that_of_the_last_step(tmp_path):
    """Also where a copy of the folder has other times."""
    for number, step in enumerate((1000, 500)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}")
        os.utime(folder / "trainer_state.json", (number, number))
    assert trainer_state_in(tmp_path).parent.name == "checkpoint-1000"
