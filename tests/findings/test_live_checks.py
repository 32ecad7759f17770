"""Every live check at its thresholds: the last log on which it is silent and the first on which it speaks."""

from __future__ import annotations

import math

import pytest

from boresight.findings import live_checks as checks
from tests.findings.logs import logged


def says(check, *args, **settings):
    """What a check says of a log; '' for nothing."""
    finding = check(logged(*args, **settings))
    return "" if finding is None else finding.why


def test_not_finite_names_the_first_step():
    said = says(checks.not_finite, {"loss": [1.0, 1.0, math.nan], "grad_norm": [1.0, 1.0, 1.0]})
    assert said == "The loss became NaN or infinite at step 3."
    both = {"loss": [1.0, math.inf], "grad_norm": [math.nan, 1.0]}
    assert says(checks.not_finite, both) == "The loss and grad_norm became NaN or infinite at step 2."
    assert says(checks.not_finite, {"loss": [1.0]}, {"loss": [math.nan]}) == ""


@pytest.mark.parametrize(
    ("held", "trained", "found"), [(0.44, 0.6, True), (0.45, 0.6, False), (0.44, 0.59, False)]
)
def test_labels_reversed(held, trained, found):
    """Of 400, 0.44 is below 0.490 and 0.45 below 0.501 (Clopper and Pearson); older steps do not count."""
    said = says(checks.labels_reversed, {"accuracy": [0.0] * 9 + [trained] * 20}, {"accuracy": [held]})
    assert bool(said) == found
    if found:
        assert said.startswith(
            "Training accuracy is 0.60 and held-out accuracy 0.44 [0.39, 0.49] of 400 rows"
        )


@pytest.mark.parametrize(
    ("held", "trained", "count", "settings", "found"),
    [
        (0.5, 0.8, 5, {}, True),
        (0.5, 0.79, 5, {}, False),
        (0.5, 0.8, 4, {}, False),
        (0.44, 0.8, 5, {}, False),  # below chance
        (0.56, 0.8, 5, {}, False),  # above chance
        (0.5, 0.8, 5, {"eval_rows": 50}, True),
        (0.5, 0.8, 5, {"eval_rows": 49}, False),
        (0.5, 0.8, 5, {"steps": 40}, True),
        (0.5, 0.8, 5, {"steps": 41}, False),
    ],
)
def test_memorizing(held, trained, count, settings, found):
    said = says(checks.memorizing, {"accuracy": [trained] * count}, {"accuracy": [held]}, **settings)
    assert bool(said) == found
    if found:
        assert "Training accuracy is 0.80 while held-out accuracy is 0.50 [" in said


@pytest.mark.parametrize(
    ("held", "trained", "settings", "found"),
    [
        (0.5475, [0.59], {}, True),
        (0.5475, [], {}, True),
        (0.55, [0.59], {}, False),
        (0.44, [0.59], {}, False),
        (0.5475, [0.6], {}, False),
        (0.5475, [0.59], {"steps": 40}, True),
        (0.5475, [0.59], {"steps": 41}, False),
    ],
)
def test_not_learning(held, trained, settings, found):
    said = says(checks.not_learning, {"accuracy": trained}, {"accuracy": [held]}, **settings)
    assert bool(said) == found


def test_only_the_last_twenty_steps_of_training_count():
    held = {"accuracy": [0.5]}
    assert says(checks.memorizing, {"accuracy": [0.0] + [0.8] * 20}, held)
    assert says(checks.not_learning, {"accuracy": [1.0] + [0.59] * 20}, held)
    assert says(checks.overfitting, {"accuracy": [0.0] + [0.651] * 20}, held)


def test_not_learning_says_what_was_bought():
    train = {"accuracy": [0.5] * 10, "lr_sum": [1e-5] * 9 + [2e-5]}
    held = {"accuracy": [0.5], "margin": [0.25]}
    assert says(checks.not_learning, train, held, steps=20) == (
        "After 50 % of the run held-out accuracy is 0.50 [0.45, 0.55] of 400 rows and a margin of 0.25 "
        "nats, not significantly different from chance; the learning rates sum to 2.0e-05 so far."
    )


@pytest.mark.parametrize(
    ("values", "found"),
    [([1.0] * 5, True), ([0.0] + [1.0] * 5, True), ([1.0] * 4, False), ([1.0] * 4 + [0.9], False)],
)
def test_reward_constant_live(values, found):
    assert bool(says(checks.reward_constant_live, {"zero_variance": values})) == found


@pytest.mark.parametrize(
    ("values", "found"),
    [([0.7] * 10, True), ([0.69] * 10, False), ([0.7] * 9, False), ([0.0] + [0.7] * 10, True)],
)
def test_zero_variance_groups(values, found):
    said = says(checks.zero_variance_groups, {"zero_variance": values})
    assert said.startswith("In 70 % of the groups of the last 10 steps") if found else said == ""


@pytest.mark.parametrize("name", ["unscorable", "unscorable_share"])
@pytest.mark.parametrize(
    ("values", "found"), [([0.1] * 5, 5), ([0.09] * 5, 0), ([0.1] * 4, 0), ([0.0] * 9 + [0.1] * 10, 10)]
)
def test_rewards_missing(name, values, found):
    said = says(checks.rewards_missing, {name: values})
    assert (
        said.startswith(f"10 % of the sampled answers could not be scored in the last {found} ")
        if found
        else not said
    )


@pytest.mark.parametrize(
    ("skipped", "of", "severity"),
    [(3, 15, "warning"), (3, 16, None), (2, 5, None), (8, 9, "warning"), (9, 10, "error")],
)
def test_steps_skipped(skipped, of, severity):
    history = logged({"loss": [1.0] * of, "skipped": [1.0] * skipped})
    finding = checks.steps_skipped(history)
    assert (finding and finding.severity) == severity
    if finding:
        assert finding.why.startswith(f"{skipped} of {of} steps") and finding.count == skipped


def risen(start, gain, noise=0.0):
    """Forty values whose last twenty lie `gain` above the first; each half alternates by ± `noise`."""
    return [start + gain * (i >= 20) + (noise if i % 2 else -noise) for i in range(40)]


@pytest.mark.parametrize(
    ("up", "flat", "found"),
    [
        (risen(0, 0.0625), risen(0, 0.0), True),
        (risen(0, 0.05), risen(0, 0.0), False),
        (risen(0, 0.0625), risen(0, 0.0156), True),
        (risen(0, 0.0625), risen(0, 0.0234375), False),
        # ± 0.1: variance 0.2²/4 · 20/19 of either half, standard error 0.03244, three times of it 0.0973
        (risen(0, 0.1, 0.1), risen(0, 0.0), True),
        (risen(0, 0.09, 0.1), risen(0, 0.0), False),
        (risen(0, 0.5), risen(0, 0.03, 0.1), True),
        (risen(0, 0.5), risen(0, 0.035, 0.1), False),
    ],
)
def test_reward_hacking(up, flat, found):
    said = says(checks.reward_hacking, {"reward_form": up, "reward_right": flat, "reward": up})
    assert said.startswith("reward_form has risen by 0.") if found else said == ""
    assert says(checks.reward_hacking, {"reward_form": up, "reward_failures": flat}) == ""


HELD_REWARD = {"reward": [0.2] * 4, "reward_error": [0.01] * 4, "answers": [200.0] * 4}


@pytest.mark.parametrize(
    ("gain", "noise", "held", "settings", "found"),
    [
        (0.0625, 0.0, {}, {}, True),
        (0.04, 0.0, {}, {}, False),
        (0.09, 0.1, {}, {}, False),  # three standard errors of the gain are 0.097
        (0.1, 0.1, {}, {}, True),
        (0.0625, 0.0, {"reward": [0.2, 0.3, 0.2, 0.19]}, {}, True),
        (0.0625, 0.0, {"reward": [0.2, 0.3, 0.25, 0.2]}, {}, False),  # the last two are higher
        (0.0625, 0.0, {"reward": [0.2] * 3}, {}, False),
        (0.0625, 0.0, {"reward": [0.2, 0.2, 0.5, 0.2, 0.2], "reward_error": [0.01] * 5}, {}, True),
        (0.0625, 0.0, {}, {"steps": 160}, True),
        (0.0625, 0.0, {}, {"steps": 161}, False),
        (0.0625, 0.0, {"reward_error": [0.022] * 4}, {}, True),  # 2 · √2 · 0.022 = 0.0622
        (0.0625, 0.0, {"reward_error": [0.0225] * 4}, {}, False),
        (0.0625, 0.0, {"reward_error": [0.5, 0.01, 0.01, 0.01]}, {}, False),
        # 0.0625 + 0.1 between what was to be expected and what came: more than 2 · √2 · 0.03 = 0.085
        (0.0625, 0.0, {"reward": [0.2, 0.2, 0.15, 0.1], "reward_error": [0.03] * 4}, {}, True),
    ],
)
def test_reward_flat_held_out(gain, noise, held, settings, found):
    said = says(
        checks.reward_flat_held_out, {"reward": risen(0.5, gain, noise)}, HELD_REWARD | held, **settings
    )
    assert bool(said) == found
    if found and held.get("reward", [0])[-1] == 0.1:
        assert said.endswith("earn 0.10 ± 0.06, 0.20 at the start.")
    if found and not held:
        assert said.endswith(
            "while greedy answers to 200 held-out prompts earn 0.20 ± 0.02, 0.20 at the start."
        )


@pytest.mark.parametrize(
    ("before", "now", "count", "found"),
    [
        (-1.0, -0.1, 10, True),
        (-1.0, -0.11, 10, False),
        (-0.3, -0.075, 10, True),
        (-0.3, -0.08, 10, False),
        (-1.0, -0.1, 9, False),
        (0.0, 0.0, 10, False),  # greedy from the start: nothing has fallen
    ],
)
def test_entropy_collapse(before, now, count, found):
    said = says(checks.entropy_collapse, {"logp_per_token": [before] * 10 + [now] * count})
    assert bool(said) == found
    if found:
        assert said.startswith(f"Sampled tokens carry {-now:.3f} nats each, {-before:.3f} at the start")


@pytest.mark.parametrize(
    ("chosen", "margin", "found"),
    [
        ([-20.0], 1.0, True),
        ([-19.9], 1.0, False),
        ([-20.0], 0.0, False),
        ([-2.0, -3.0, -4.0, -5.1], 1.0, True),
        ([-2.0, -3.0, -4.0, -5.0], 1.0, False),
        ([-4.0, -5.0, -6.0], 1.0, False),
        ([-1.0, -2.0, -3.0, -4.0, -5.1], 1.0, True),
        ([-5.0, -2.0, -3.0, -4.0, -5.1], 1.0, True),
        ([-2.0, -4.0, -4.0, -5.1], 1.0, False),
    ],
)
def test_likelihood_displacement(chosen, margin, found):
    said = says(
        checks.likelihood_displacement, {}, {"chosen_logratio": chosen, "margin": [margin] * len(chosen)}
    )
    assert bool(said) == found
    if found:
        nats = f"{-chosen[-1]:.1f} nats less likely than at the start while the margin is 1.0"
        assert said.startswith(f"Chosen answers of 400 held-out rows are {nats}")


@pytest.mark.parametrize(("margin", "found"), [(20.0, False), (20.1, True)])
def test_over_optimization_by_margin(margin, found):
    assert bool(says(checks.over_optimization, {}, {"margin": [margin]})) == found


def test_the_fix_of_over_optimization_is_right_before_there_is_a_checkpoint():
    fix = checks.over_optimization(logged({}, {"margin": [30.0]})).fix
    assert fix.startswith("Lower optim.lr") and "an earlier checkpoint, if there is one" in fix


@pytest.mark.parametrize(
    ("kl", "score", "found"),
    [
        ([0.1, 0.1, 0.125, 0.1, 0.1875], [0.7, 0.6, 0.6, 0.7, 0.7], True),
        ([0.1, 0.1, 0.125, 0.1, 0.187], [0.7, 0.6, 0.6, 0.7, 0.7], False),
        ([0.1, 0.1, 0.125, 0.1, 0.1875], [0.7, 0.6, 0.6, 0.71, 0.7], False),
        ([0.1, 0.1, 0.125, 0.1, 0.1875], [0.6, 0.6, 0.7, 0.65, 0.65], True),
        ([0.0, 0.0, 0.01, 0.1, 0.15], [0.7] * 5, False),
        ([0.0, 0.0, 0.011, 0.1, 0.15], [0.7] * 5, True),
        ([0.1, 0.1, 0.1, 0.2], [0.7] * 5, False),
        ([0.1, 0.1, 0.1, 0.1, 0.2], [0.7] * 4, False),
    ],
)
def test_over_optimization_by_kl(kl, score, found):
    assert bool(says(checks.over_optimization, {}, {"kl_per_token": kl, "accuracy": score})) == found
    by_reward = {"kl_per_token": kl, "reward": score, "answers": [50.0] * 5}
    assert bool(says(checks.over_optimization, {}, by_reward, eval_rows=0)) == found
    assert says(checks.over_optimization, {}, by_reward | {"answers": [49.0] * 5}, eval_rows=0) == ""


@pytest.mark.parametrize(
    ("trained", "count", "settings", "found"),
    [
        (0.651, 10, {}, True),
        (0.65, 10, {}, False),
        (0.651, 9, {}, False),
        (0.71, 10, {"eval_rows": 100}, True),
        (0.71, 10, {"eval_rows": 99}, False),
        (0.651, 10, {"steps": 40}, True),
        (0.651, 10, {"steps": 41}, False),
    ],
)
def test_overfitting(trained, count, settings, found):
    """Half of 400 is below 0.5501, half of 100 below 0.6017."""
    said = says(checks.overfitting, {"accuracy": [trained] * count}, {"accuracy": [0.5]}, **settings)
    assert (
        said.startswith(f"Training accuracy is {trained:.2f}, held-out accuracy 0.50 [")
        if found
        else said == ""
    )


@pytest.mark.parametrize(
    ("before", "now", "found"), [(20, 40, True), (20, 39, False), (20, 10, True), (20, 11, False)]
)
def test_length_drift_of_samples(before, now, found):
    said = says(checks.length_drift, {"sampled_len": [before] * 10 + [now] * 10})
    assert (
        said.startswith(f"Sampled answers have {now} tokens, {before} at the start") if found else said == ""
    )
    assert says(checks.length_drift, {"sampled_len": [before] * 10 + [now] * 9}) == ""


def test_samples_whose_length_jumps_about_have_not_drifted():
    """From 20 ± 20 to 40 ± 20, ten steps each: standard error √(2 · 444 / 10) = 9.4, three of them 28."""
    wild = [(20 if i < 10 else 40) + (20 if i % 2 else -20) for i in range(20)]
    assert says(checks.length_drift, {"sampled_len": wild}) == ""
    calm = [(20 if i < 10 else 40) + (11.5 if i % 2 else -11.5) for i in range(20)]  # three of them 16.3
    assert says(checks.length_drift, {"sampled_len": calm}) != ""


@pytest.mark.parametrize(
    ("lengths", "stopped", "found"),
    [
        ([20, 40, 40], 0.5, True),
        ([20, 40, 40], 0.49, False),
        ([20, 40, 39], 0.5, False),
        ([20, 39, 40], 0.5, False),
        ([20, 20, 40, 40], 0.5, True),
        ([20, 40], 0.5, False),
        ([20, 10, 10], 0.5, True),
        ([0, 40, 40], 0.5, False),
        ([20, 40, 60], 0.5, True),
    ],
)
def test_length_drift_of_answers(lengths, stopped, found):
    n = len(lengths)
    held = {
        "answer_len": lengths,
        "answer_len_error": [1.0] * n,
        "answers": [8.0] * n,
        "stopped_share": [stopped] * n,
    }
    said = says(checks.length_drift, {}, held)
    way = f"answers get {'longer' if lengths[-1] > 20 else 'shorter'}"
    assert bool(said) == found
    if found:
        assert said.endswith(f"{lengths[-1]} tokens, 20 at the start (8 each): {way}.")


def answered(name, first, last, n):
    return {name: [first, last], "answers": [float(n)] * 2}


@pytest.mark.parametrize(
    ("first", "last", "n", "found"),
    [
        (1.0, 0.945, 200, False),  # less than 15 points
        (1.0, 0.85, 200, True),
        (1.0, 0.855, 200, False),
        (0.5, 0.35, 400, True),
        (0.5, 0.355, 400, False),
        (1.0, 0.125, 8, True),
        (1.0, 0.25, 8, False),
        (0.2, 0.9, 200, False),
    ],
)
def test_stops_failing(first, last, n, found):
    said = says(checks.stops_failing, {}, answered("stopped_share", first, last, n))
    assert bool(said) == found
    if found:
        counts = f"{round(last * n)} of {n} answers to held-out prompts end before the token limit, "
        assert said == f"Only {counts}{round(first * n)} of {n} at the start."


@pytest.mark.parametrize(
    ("first", "last", "n", "found"),
    [
        (0.0, 0.1, 200, True),
        (0.0, 0.095, 200, False),
        (0.25, 0.35, 800, True),
        (0.25, 0.345, 800, False),
        (0.0, 0.875, 8, True),
        (0.0, 0.75, 8, False),
        (0.5, 0.1, 200, False),
    ],
)
def test_repetition(first, last, n, found):
    said = says(checks.repetition, {}, answered("repetition_share", first, last, n))
    assert bool(said) == found
    if found:
        start = f"{round(first * n)} of {n} at the start."
        assert said == f"{round(last * n)} of {n} answers to held-out prompts end in a loop, {start}"


def test_it_is_the_first_evaluation_that_tells_whether_answers_ended():
    held = {"answer_len": [1, 4, 4], "answer_len_error": [0.1] * 3, "answers": [8.0] * 3}
    assert says(checks.length_drift, {}, held | {"stopped_share": [0.9, 0.1, 0.1]})
    assert not says(checks.length_drift, {}, held | {"stopped_share": [0.1, 0.9, 0.9]})


@pytest.mark.parametrize(("last", "count", "found"), [(20.0, 19, True), (19.9, 19, False), (20.0, 18, False)])
def test_gradient_spike(last, count, found):
    said = says(checks.gradient_spike, {"grad_norm": [2.0] * count + [last]})
    assert (
        said == "The gradient norm is 20 at step 20, 10 times the median of the steps before."
        if found
        else not said
    )


@pytest.mark.parametrize("last", [0.0, 3.0])
def test_there_is_no_spike_over_gradients_of_zero(last):
    """Constant rewards without a KL term: the median of the steps before is 0."""
    assert says(checks.gradient_spike, {"grad_norm": [2.0] * 5 + [0.0] * 20 + [last]}) == ""


@pytest.mark.parametrize(
    ("clipped", "found"), [([1.0] * 50, True), ([1.0] * 49, False), ([1.0] * 49 + [0.0], False)]
)
def test_clip_saturation(clipped, found):
    said = says(checks.clip_saturation, {"clipped": clipped, "grad_norm": [2.5] * len(clipped)})
    assert said.startswith("Each of the last 50 steps was clipped (median norm 2.5)") if found else said == ""


def test_a_spike_is_held_against_all_steps_before_it():
    """Upper medians of the 19 norms before: 2, whatever the first was; and 1, for ten of them are 1."""
    assert says(checks.gradient_spike, {"grad_norm": [4.0] + [2.0] * 18 + [20.0]})
    assert says(checks.gradient_spike, {"grad_norm": [1.0] * 9 + [2.0] * 9 + [1.0, 10.0]})


@pytest.mark.parametrize(("cut", "now", "found"), [(0.5, 10, False), (0.49, 10, True), (0.5, 40, True)])
def test_samples_that_learn_to_end_have_no_length_to_drift_from(cut, now, found):
    log = {"sampled_len": [20] * 10 + [now] * 10, "truncated": [cut] * 10 + [0.1] * 10}
    assert bool(says(checks.length_drift, log)) == found


@pytest.mark.parametrize(("level", "found"), [(0.0, True), (0.45, True), (0.5, False), (1.0, False)])
def test_a_part_that_is_right_from_the_start_is_not_neglected(level, found):
    log = {"reward_form": [level] * 40, "reward_right": risen(0, 0.5)}
    assert bool(says(checks.reward_hacking, log)) == found


def test_a_penalty_improves_as_it_falls():
    """With a negative weight: falling is the aim, rising is what a policy gives up for the easy part."""

    def hacked(right, penalty):
        log = logged({"reward_right": right, "reward_repeats": penalty})
        log.penalties = frozenset({"reward_repeats"})
        found = checks.reward_hacking(log)
        return found.why if found else ""

    falls, rises = risen(0.4, -0.35), risen(0.1, 0.3)
    assert hacked(risen(0, 0.5), falls) == ""
    assert hacked(risen(0, 0.5), [0.0] * 40) == "", "nothing to avoid"
    assert "reward_right has risen by 0." in hacked(risen(0, 0.5), rises)
    assert hacked([0.2] * 40, falls).startswith("reward_repeats has fallen by 0.")
