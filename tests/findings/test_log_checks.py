"""Every check of a whole log at its thresholds: the last silent log and the first that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from boresight.findings import log_checks as checks
from boresight.findings.finding import checks_of
from boresight.findings.history import SCALED_BY_BETA
from tests.findings.logs import logged


def found(check, *args, unit="nats", **settings):
    """What a check finds in a log."""
    history = logged(*args, **settings)
    history.unit = unit
    return check(history)


def wave(level, size=0.1, count=40):
    """Values that go up and down by `size` around `level`."""
    return [level + (size if i % 2 else -size) for i in range(count)]


@pytest.mark.parametrize(("last", "count", "hit"), [(0.0, 5, True), (-0.1, 5, False), (0.0, 4, False)])
def test_nothing_scored(last, count, hit):
    """Ten values of 0 of both sides together."""
    logps = {"chosen_logps": [0.0] * count, "rejected_logps": [0.0] * (count - 1) + [last]}
    assert bool(found(checks.nothing_scored, logps)) == hit


@pytest.mark.parametrize(
    ("more", "hit"),
    [
        ({}, True),
        ({"loss": [0.0] * 9}, False),
        ({"loss": [0.0] * 9 + [1e-4]}, False),
        ({"reward": [0.5] * 10}, False),
        ({"chosen_logps": [-9.0] * 10}, False),
    ],
)
def test_a_loss_of_0_throughout_scores_nothing_unless_a_reward_or_pairs_explain_it(more, hit):
    """A loss mask that removes every token; a policy gradient has a loss of 0 by its formula."""
    finding = found(checks.nothing_scored, {"loss": [0.0] * 10} | more)
    assert bool(finding) == hit
    assert not hit or finding.why.startswith("The loss is exactly 0 at all 10 steps: no token")


@pytest.mark.parametrize(("last", "hit"), [(0.0, True), (1e-6, True), (2e-6, False), (-2e-6, False)])
def test_rewards_stay_zero(last, hit):
    ratios = {"chosen_logratio": [0.0] * 9 + [last], "rejected_logratio": [0.0] * 10}
    assert bool(found(checks.rewards_stay_zero, ratios)) == hit


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"lr": [0.0] * 10, "grad_norm": [0.0] * 10}, "the learning rate is 0"),
        ({"lr": [1e-5] * 10, "grad_norm": [0.0] * 10}, "every gradient is 0"),
        ({"lr": [1e-5] * 10, "grad_norm": [1.0] * 10}, "policy and reference are the same weights"),
        ({}, "policy and reference are the same weights"),
    ],
)
def test_rewards_that_stay_zero_have_a_cause(more, cause):
    assert cause in found(checks.rewards_stay_zero, {"chosen_logratio": [0.0] * 10} | more).why


def test_answers_without_a_scored_token_are_one_finding():
    log = {"chosen_logratio": [0.0] * 10, "chosen_logps": [0.0] * 10, "rejected_logps": [0.0] * 10}
    assert found(checks.nothing_scored, log) and not found(checks.rewards_stay_zero, log)


@pytest.mark.parametrize(
    ("loss", "margin", "accuracy", "unit", "hit"),
    [
        (0.98, 1.0, 0.65, "nats", True),
        (0.96, 1.0, 0.65, "nats", False),  # 4 % can be seen
        (0.98, 0.9, 0.65, "nats", False),
        (0.98, 1.0, 0.64, "nats", False),
        (0.98, 0.1, 0.65, SCALED_BY_BETA, True),
        (0.98, 0.0, 0.65, SCALED_BY_BETA, False),
    ],
)
def test_loss_hides_margin(loss, margin, accuracy, unit, hit):
    log = {
        "loss": [1.0] * 5 + [loss] * 5,
        "margin": [0.0] * 5 + [margin] * 5,
        "accuracy": [0.5] * 5 + [accuracy] * 5,
    }
    assert bool(found(checks.loss_hides_margin, log, unit=unit)) == hit
    assert not found(checks.loss_hides_margin, log | {"score": [0.1]}, unit=unit)  # a reward model


@pytest.mark.parametrize(
    ("fall", "margin", "unit", "severity"),
    [
        (-0.9, 3.0, "nats", None),
        (-1.0, 3.0, "nats", "note"),
        (-1.0, 0.0, "nats", None),
        (-5.0, 3.0, "nats", "note"),
        (-5.1, 3.0, "nats", "warning"),
        (-5.1, 6.0, "nats", "note"),
        (-20.0, 90.0, "nats", "warning"),
        (-0.09, 0.3, SCALED_BY_BETA, None),
        (-0.1, 0.3, SCALED_BY_BETA, "note"),
        (-6.0, 0.3, SCALED_BY_BETA, "note"),
        (-20.0, 0.3, SCALED_BY_BETA, "warning"),
    ],
)
def test_chosen_falls(fall, margin, unit, severity):
    log = {"chosen_logratio": [0.0] * 5 + [fall] * 5, "margin": [0.0] * 5 + [margin] * 5}
    finding = found(checks.chosen_falls, log, unit=unit)
    assert (finding and finding.severity) == severity


def test_held_out_rows_decide_whether_chosen_answers_fall():
    train = {"chosen_logratio": [0.0] * 5 + [-3.0] * 5, "margin": [3.0] * 10}
    assert not found(checks.chosen_falls, train, {"chosen_logratio": [-0.5]})
    assert found(checks.chosen_falls, train, {"chosen_logratio": [-1.5]}).why.startswith(
        "Chosen answers are 1.5 nats less likely"
    )
    assert not found(
        checks.chosen_falls, train, {"chosen_logratio": [-21.0], "margin": [1.0]}
    )  # likelihood-…


def test_a_fall_within_the_noise_of_training_rows_is_none():
    """±4 around -1.5: ten values each, standard error √(2 · 17.8 / 10) = 1.9."""
    log = {"chosen_logratio": wave(-1.5, 4.0, 20), "margin": [1.0] * 20}
    assert not found(checks.chosen_falls, log)
    assert found(checks.chosen_falls, log | {"chosen_logratio": wave(-1.5, 0.5, 20)})


def test_kto_has_no_margin_and_good_answers():
    log = {"chosen_logratio": [0.0] * 5 + [-9.0] * 5, "margin": [5.0] * 10, "reference_point": [0.0]}
    why = found(checks.chosen_falls, log).why
    assert why.startswith("Good answers") and "distance from the reference point is 5" in why
    assert "margin" not in why


@pytest.mark.parametrize(
    ("share", "count", "severity"),
    [(0.49, 5, None), (0.5, 5, "warning"), (0.9, 5, "error"), (0.9, 4, None)],
)
def test_answers_truncated(share, count, severity):
    finding = found(checks.answers_truncated, {"truncated": [share] * count, "sampled_len": [256] * count})
    assert (finding and finding.severity) == severity
    if finding:
        assert f"{share:.0%}".replace("%", " %") in finding.why and "256 tokens" in finding.why


@pytest.mark.parametrize(
    ("rise", "count", "settings", "hit"),
    [
        # ± 0.1, twenty values: variance 0.01 · 20/19, standard error √(2 · 0.0105 / 20) = 0.0324
        (0.03, 40, {}, True),
        (0.035, 40, {}, False),
        (0.0, 40, {"steps": 80}, True),
        (0.0, 40, {"steps": 81}, False),
        (0.0, 10, {}, True),
        (0.0, 8, {}, False),
    ],
)
def test_reward_stuck(rise, count, settings, hit):
    half = count // 2
    values = wave(0.3, 0.1, half) + wave(0.3 + rise, 0.1, half)
    finding = found(checks.reward_stuck, {"reward": values}, **settings)
    assert bool(finding) == hit


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"truncated": [0.5] * 40}, "cut before their answer"),
        ({"zero_variance": [0.6] * 40}, "in 60 % of the groups all samples have the same reward"),
        ({"lr_sum": [2e-6] * 40}, "(learning rates sum to 2.0e-06)"),
    ],
)
def test_a_stuck_reward_has_a_cause(more, cause):
    assert cause in found(checks.reward_stuck, {"reward": wave(0.3)} | more).why


@pytest.mark.parametrize(("last", "hit"), [(0.45, False), (0.35, True), (0.0, True)])
def test_reward_fell(last, hit):
    """From 0.2 to 0.6, so half of the gain is lost at 0.4; four standard errors are 0.03."""
    values = wave(0.2, 0.01, 10) + wave(0.6, 0.01, 20) + wave(last, 0.01, 10)
    finding = found(checks.reward_fell, {"reward": values})
    assert bool(finding) == hit
    if finding:
        assert "The mean reward was 0.6" in finding.why and "around step" in finding.why
        assert not found(checks.reward_stuck, {"reward": values})


def test_noise_is_no_fall():
    """Ten blocks of 4 values would be too few: blocks have five, ± 0.3 in each."""
    assert not found(checks.reward_fell, {"reward": wave(0.5, 0.3, 100)})
    assert not found(checks.reward_fell, {"reward": wave(0.5, 0.3, 19)})


def levels(*five, each=4):
    return [level for level in five for _ in range(each)]


@pytest.mark.parametrize(
    ("kl", "hit"),
    [
        (levels(0.01, 0.05, 0.05, 0.05, 0.4), True),
        (levels(0.01, 0.05, 0.05, 0.05, 0.39), False),
        (levels(0.001, 0.01, 0.01, 0.01, 0.1), True),
        (levels(0.001, 0.01, 0.01, 0.01, 0.099), False),
        (levels(0.01, 0.01, 0.8, 0.8, 0.4), True),
        (levels(0.01, 0.01, 0.8, 0.8, 0.3), False),  # a spike that has passed
        (levels(0.01, 0.9, 0.9, 0.9, 0.9), False),  # early growth, and the reward did not fall
        ([0.5 * ((i + 1) / 100) ** 2 for i in range(100)], False),  # a healthy run
        ([5.0 * ((i + 1) / 100) ** 3 for i in range(100)], False),
        (levels(0.01, 0.05, 0.05, 0.05, 0.4, each=3), False),  # fifteen steps
    ],
)
def test_kl_explodes(kl, hit):
    finding = found(checks.kl_explodes, {"kl": kl})
    assert bool(finding) == hit
    if finding:
        assert finding.severity == "warning"


def test_a_kl_that_explodes_while_the_reward_falls_is_an_error():
    reward = wave(0.6, 0.01, 60) + wave(0.0, 0.01, 40)
    late = {"kl": levels(0.001, 0.01, 0.01, 5.0, 50.0, each=20), "reward": reward}
    assert found(checks.kl_explodes, late).severity == "error"
    early = {"kl": levels(0.001, 0.1, 5.0, 20.0, 50.0, each=20), "reward": reward}
    assert "went from 0.001 nats around step 11 to 0.1 around step 31, and the reward fell" in (
        found(checks.kl_explodes, early).why
    )


@pytest.mark.parametrize(("kl", "hit"), [(0.5, True), (0.49, False)])
def test_a_policy_far_off_on_held_out_answers(kl, hit):
    assert bool(found(checks.kl_explodes, {}, {"kl_per_token": [0.0, kl]})) == hit


@pytest.mark.parametrize(
    ("values", "hit"),
    [
        (wave(-1.1, 0.1, 10), False),  # three standard errors are 0.1
        (wave(-1.2, 0.1, 10), True),
        ([-5.0] * 9, False),
        (wave(-0.9, 0.1, 20), False),
        (wave(-5.0, 8.0, 20), False),
        ([9.0] * 20 + [-5.0] * 20, True),
    ],
)
def test_kl_negative(values, hit):
    assert bool(found(checks.kl_negative, {"kl": values})) == hit


def test_no_check_of_logs_is_without_a_test():
    text = Path(__file__).read_text()
    assert [c.__name__ for c in checks_of(checks) if f"checks.{c.__name__}," not in text] == []
