"""Checks of a run while it runs. Each reports its finding once, at the first step its condition holds.

Checks for causes come first: earlier findings explain later ones.
"""

from __future__ import annotations

from itertools import pairwise

from boresight.core.wording import percent
from boresight.findings.finding import Finding, error, graded, note, warning
from boresight.findings.history import WINDOW, History, apart, mean, median
from boresight.stats.intervals import Interval

QUARTER = 0.25
"""Share of the run after which a healthy run shows progress."""
FEWEST_SCORED = 50
"""Minimum number of held-out rows for a finding about a score that has not risen: with fewer the interval is
±14 points or wider."""
FAR = 20.0
"""Margin, or decrease of the log-probability of chosen answers, in nats, beyond which answers usually get
worse."""


def not_finite(h: History) -> Finding | None:
    """Return the finding `not-finite` if the loss or the gradient norm became NaN or infinite."""
    names = [name for name in ("loss", "grad_norm") if name in h.broken]
    if not names:
        return None
    return error(
        "not-finite",
        f"The {' and '.join(names)} became NaN or infinite at step {h.broken[names[0]]}.",
        "Go back to the last checkpoint with a lower optim.lr, and look for a malformed row in that batch.",
    )


def labels_reversed(h: History) -> Finding | None:
    """Return the finding `labels-reversed` if pairs are learned but held-out accuracy is below chance."""
    held, trained = h.held_out_share(), h.recent("accuracy", 20)
    if held is None or not trained or held.high >= 0.5 or mean(trained) < 0.6:
        return None
    return error(
        "labels-reversed",
        f"Training accuracy is {mean(trained):.2f} and held-out accuracy {_of_held_out(h, held)}, "
        "below chance: the two sets prefer opposite answers.",
        "Look for swapped chosen and rejected in one of the two sets.",
    )


def memorizing(h: History) -> Finding | None:
    """Return the finding `memorizing` if training accuracy is high and held-out accuracy at chance."""
    held, trained = h.held_out_share(), h.recent("accuracy", 20)
    if held is None or len(trained) < 5 or held.n < 50 or h.progress < QUARTER:
        return None
    if mean(trained) < 0.8 or not held.low <= 0.5 <= held.high:
        return None
    return warning(
        "memorizing",
        f"Training accuracy is {mean(trained):.2f} while held-out accuracy is {_of_held_out(h, held)}, "
        "no better than chance: the labels follow no rule that generalizes.",
        "Check the labels on a few rows by hand; half of them may be swapped.",
    )


def not_learning(h: History) -> Finding | None:
    """Return the finding `not-learning` if held-out accuracy is at chance after a quarter of the run.

    Training accuracy must be below 0.6, or not logged; see `memorizing` for runs that learn the training set.
    """
    held, trained = h.held_out_share(), h.recent("accuracy", 20)
    if held is None or h.progress < QUARTER or held.value >= 0.55 or not held.low <= 0.5 <= held.high:
        return None
    if trained and mean(trained) >= 0.6:  # the training rows are learned: see `memorizing`
        return None
    rates = h.recent("lr_sum", 1)
    budget = f"; the learning rates sum to {rates[0]:.1e} so far" if rates else ""
    margin = h.held_out("margin")
    said = "" if margin is None else f" and a {h.margin_name} of {margin:.2g} {h.unit}"
    return warning(
        "not-learning",
        f"After {percent(h.progress)} of the run held-out accuracy is {_of_held_out(h, held)}{said}, "
        f"not significantly different from chance{budget}.",
        "Raise the sum of learning rates as `boresight check` suggests, or check the labels.",
    )


def reward_constant_live(h: History) -> Finding | None:
    """Return the finding `reward-constant-live` if for five steps all groups have had equal rewards."""
    recent = h.recent("zero_variance", 5)
    if len(recent) < 5 or min(recent) < 1:
        return None
    return error(
        "reward-constant-live",
        "For five steps all samples of every prompt have had the same reward, so all advantages are 0 and "
        "nothing is learned.",
        "Check the reward function, raise rollout.temperature and rollout.k, or start from a model that is "
        "sometimes right.",
    )


def zero_variance_groups(h: History) -> Finding | None:
    """Return the finding `zero-variance-groups` if most groups have equal rewards and thus no gradient."""
    recent = h.recent("zero_variance", 10)
    if len(recent) < 10 or mean(recent) < 0.7:
        return None
    return warning(
        "zero-variance-groups",
        f"In {percent(mean(recent))} of the groups of the last {len(recent)} steps all samples have the same "
        "reward, so they have no gradient.",
        "Use prompts that are sometimes solved, or raise rollout.k.",
    )


def rewards_missing(h: History) -> Finding | None:
    """Return the finding `rewards-missing` if at least 10 % of the sampled answers could not be scored."""
    recent = h.recent("unscorable", 10) or h.recent("unscorable_share", 10)
    if len(recent) < 5 or mean(recent) < 0.1:
        return None
    return warning(
        "rewards-missing",
        f"{percent(mean(recent))} of the sampled answers could not be scored in the last {len(recent)} "
        "steps; they are skipped, not counted as wrong.",
        "Look at reward-failures.jsonl in the run folder, or at the answers that the reward declines to "
        "judge.",
    )


def steps_skipped(h: History) -> Finding | None:
    """Return the finding `steps-skipped` if at least 20 % of the steps had no row to learn from."""
    skipped = len(h.values("skipped"))
    if skipped < 3 or skipped < 0.2 * h.step:
        return None
    return graded(
        "steps-skipped",
        skipped / h.step,
        0.9,
        f"{skipped} of {h.step} steps had no gradient: ties, identical answers or answers without a score.",
        "Raise rollout.temperature or train.batch, or use a reward that distinguishes answers.",
        count=skipped,
    )


def reward_hacking(h: History) -> Finding | None:
    """Return the finding `reward-hacking` if one part of the reward rises while another part does not."""
    parts = [n for n in h.series["train"] if n.startswith("reward_") and n != "reward_failures"]
    moved = {name: gain for name in parts if (gain := h.gain(name)) is not None}
    sign = {name: -1 if name in h.penalties else 1 for name in parts}
    up = [n for n, (gain, noise) in moved.items() if sign[n] * gain > max(0.05, 3 * noise)]
    flat = [
        n for n, (gain, noise) in moved.items() if sign[n] * gain < max(0.02, noise) and not _saturated(h, n)
    ]
    if not up or not flat:
        return None
    way = "fallen" if up[0] in h.penalties else "risen"
    return warning(
        "reward-hacking",
        f"{up[0]} has {way} by {abs(moved[up[0]][0]):.2f} while {flat[0]} has moved by "
        f"{moved[flat[0]][0]:+.2f}: the policy optimizes the easy part only.",
        "Lower the weight of the easy part, or give it only together with the other.",
    )


def _saturated(h: History, name: str) -> bool:
    """Whether a part of the reward cannot rise much: it is as high as it ever was, and above one half. A
    penalty cannot fall much where it is a tenth of what it was at most."""
    late = mean(h.recent(name, 20))
    if name in h.penalties:
        return late <= 0.1 * max(h.values(name))
    return late >= 0.5 and late >= 0.9 * max(h.values(name))


def reward_flat_held_out(h: History) -> Finding | None:
    """Return the finding `reward-flat-held-out` if the reward of training samples rises and that of answers
    to held-out prompts does not."""
    held, gain = h.answer_means("reward"), h.gain("reward")
    if len(held) < 4 or gain is None or h.progress < QUARTER:
        return None
    (first, _), (last, error_of_last) = held[0], held[-1]
    if gain[0] < max(0.05, 3 * gain[1]) or mean([last, held[-2][0]]) > first:
        return None
    if not apart((first + gain[0], held[0][1]), (last, error_of_last)):
        return None  # so few prompts would not show such a gain
    return warning(
        "reward-flat-held-out",
        f"The reward of training samples has risen by {gain[0]:.2f} while greedy answers to {h.answers:,} "
        f"held-out prompts earn {last:.2f} ± {2 * error_of_last:.2f}, {first:.2f} at the start.",
        "Use more different prompts, and check that training and held-out prompts are of one kind.",
    )


def entropy_collapse(h: History) -> Finding | None:
    """Return the finding `entropy-collapse` if the entropy of the policy has fallen to almost zero."""
    early, late = h.first("logp_per_token"), h.recent("logp_per_token", 10)
    if len(h.values("logp_per_token")) < 20:
        return None
    before, now = -mean(early), -mean(late)
    if before <= 0 or now > 0.25 * before or now > 0.1:
        return None
    return warning(
        "entropy-collapse",
        f"Sampled tokens carry {now:.3f} nats each, {before:.3f} at the start: samples hardly differ, and "
        "neither do their rewards.",
        "Lower optim.lr, raise method.beta, or raise rollout.temperature.",
    )


def likelihood_displacement(h: History) -> Finding | None:
    """Return the finding `likelihood-displacement` if held-out chosen answers become less likely.

    Only if the margin is positive: the pairs are learned, but probability moves to other answers.
    """
    chosen, margin = h.held_out("chosen_logratio"), h.held_out("margin")
    if chosen is None or margin is None or margin <= 0:
        return None
    falls = h.values("chosen_logratio", "eval")[-4:]
    steady = len(falls) == 4 and all(b < a for a, b in pairwise(falls))
    if chosen > -FAR and not (steady and chosen < -5):
        return None
    return warning(
        "likelihood-displacement",
        f"Chosen answers of {h.eval_rows:,} held-out rows are {-chosen:.1f} {h.unit} less likely than at the "
        f"start while the {h.margin_name} is {margin:.1f}: probability moves to answers that are in neither "
        "column (arXiv 2410.08847).",
        "Lower optim.lr; method dpo has sft_weight and dpop_lambda to prevent it.",
    )


def over_optimization(h: History) -> Finding | None:
    """Return the finding `over-optimization` if the held-out margin is above `FAR`, or if the KL to the start
    model grows while no held-out score improves."""
    kl = h.values("kl_per_token", "eval")
    score = h.values("accuracy", "eval") or h.values("reward", "eval")
    margin = h.held_out("margin")
    if margin is not None and margin > FAR:
        return _over_optimized(
            f"The {h.margin_name} of {h.eval_rows:,} held-out rows is {margin:.0f} {h.unit}"
        )
    if len(kl) < 5 or len(score) < 5 or kl[-3] <= 0.01:
        return None
    n = h.eval_prompts or h.eval_rows if h.values("accuracy", "eval") else h.answers
    if n < FEWEST_SCORED or kl[-1] < 1.5 * kl[-3] or max(score[-2:]) > max(score[:-2]):
        return None
    return _over_optimized(
        f"The KL to the start model rose from {kl[-3]:.3f} to {kl[-1]:.3f} nats per token over the last "
        f"evaluations while the held-out score stayed at {score[-1]:.2f} of {n:,}"
    )


def overfitting(h: History) -> Finding | None:
    """Return the finding `overfitting` if training accuracy is clearly higher than held-out accuracy.

    It must exceed the upper limit of held-out accuracy by at least 0.1.
    """
    held, trained = h.held_out_share(), h.recent("accuracy", 20)
    if held is None or len(trained) < 10 or held.n < 100 or h.progress < QUARTER:
        return None
    if mean(trained) - held.high < 0.1:
        return None
    return note(
        "overfitting",
        f"Training accuracy is {mean(trained):.2f}, held-out accuracy {_of_held_out(h, held)}.",
        "Use fewer epochs or more data; a gap of 0.1 is common and mild.",
    )


def length_drift(h: History) -> Finding | None:
    """Return the finding `length-drift` if answers have become at least twice or at most half as long.

    This holds for sampled answers or for answers to held-out prompts.
    """
    gain = h.gain("sampled_len", 10)
    if gain is not None and abs(gain[0]) > 3 * gain[1]:
        before, now = mean(h.first("sampled_len", 10)), mean(h.recent("sampled_len", 10))
        if _drifted(before, now) and not _learning_to_end(h, before, now):
            return _length_drift("Sampled answers", before, now, "of the first and the last ten steps")
    stopped = h.values("stopped_share", "eval")
    if stopped and stopped[0] < 0.5:  # most answers of the start model do not end: there is no length to keep
        return None
    asked = h.answer_means("answer_len")
    if len(asked) >= 3 and all(_drifted(asked[0][0], now[0]) and apart(asked[0], now) for now in asked[-2:]):
        n = f"{h.answers:,} each"
        return _length_drift("Answers to held-out prompts", asked[0][0], asked[-1][0], n)
    return None


def stops_failing(h: History) -> Finding | None:
    """Return the finding `stops-failing` if fewer answers to held-out prompts end before the token limit."""
    shares = h.answer_shares("stopped_share")
    if shares is None:
        return None
    first, last = shares
    if last.value > first.value - 0.15 or last.high >= first.low:
        return None
    return warning(
        "stops-failing",
        f"Only {_of_answers(last)} answers to held-out prompts end before the token limit, "
        f"{_of_answers(first)} at the start.",
        "Check that the end-of-turn token is scored, and lower optim.lr.",
    )


def repetition(h: History) -> Finding | None:
    """Return the finding `repetition` if more answers to held-out prompts end in a loop than at the start."""
    shares = h.answer_shares("repetition_share")
    if shares is None:
        return None
    first, last = shares
    if last.value < max(0.1, first.value + 0.1) or last.low <= first.high:
        return None
    return warning(
        "repetition",
        f"{_of_answers(last)} answers to held-out prompts end in a loop, {_of_answers(first)} at the start.",
        "Lower optim.lr or the number of epochs.",
    )


def gradient_spike(h: History) -> Finding | None:
    """Return the finding `gradient-spike` if the gradient norm is at least ten times its median before."""
    norms = h.recent("grad_norm", WINDOW)
    if len(norms) < 20:
        return None
    usual = median(norms[:-1])
    if not usual or norms[-1] < 10 * usual:  # the median is 0 if most steps have no gradient
        return None
    return warning(
        "gradient-spike",
        f"The gradient norm is {norms[-1]:.3g} at step {h.step}, {norms[-1] / usual:.0f} times the median of "
        "the steps before.",
        "Look at the rows of this step; keep optim.clip on, and lower optim.lr if spikes recur.",
    )


def clip_saturation(h: History) -> Finding | None:
    """Return the finding `clip-saturation` if the gradient of each of the last `WINDOW` steps was clipped."""
    clipped = h.recent("clipped", WINDOW)
    if len(clipped) < WINDOW or min(clipped) < 1:
        return None
    norms = h.recent("grad_norm", WINDOW)
    return note(
        "clip-saturation",
        f"Each of the last {WINDOW} steps was clipped (median norm {median(norms):.3g}): under Adam this "
        "does not slow learning, but it hides spikes.",
        "Raise optim.clip above the median norm.",
    )


def _learning_to_end(h: History, before: float, now: float) -> bool:
    """Whether samples may get shorter because fewer of them reach the token limit."""
    cut = h.first("truncated", 10)
    return bool(cut) and mean(cut) >= 0.5 and now < before


def _drifted(before: float, now: float) -> bool:
    return before > 0 and not 0.5 < now / before < 2


def _of_held_out(h: History, held: Interval) -> str:
    """Format a held-out share, as `0.51 [0.46, 0.56] of 400 rows`."""
    return f"{held.value:.2f} [{held.low:.2f}, {held.high:.2f}] of {held.n:,} {h.held_out_units}"


def _of_answers(share: Interval) -> str:
    """Format a share of answers, as `6 of 8`."""
    return f"{round(share.value * share.n):,} of {share.n:,}"


def _length_drift(whose: str, before: float, now: float, n: str) -> Finding:
    if now < before:
        return warning(
            "length-drift",
            f"{whose} have {now:.0f} tokens, {before:.0f} at the start ({n}): answers get shorter.",
            "If short answers have the same reward, nothing is wrong. Otherwise chosen answers are the "
            "shorter "
            "ones (length-leak), the reward is for the format alone, or GRPO's mean per answer favors them.",
        )
    return warning(
        "length-drift",
        f"{whose} have {now:.0f} tokens, {before:.0f} at the start ({n}): answers get longer.",
        "Where a verifier's score rises with it, a longer search may raise the reward; otherwise look for "
        "the cause in the data (length-leak) or in the reward. A truncation rule bounds the length.",
    )


def _over_optimized(what: str) -> Finding:
    return warning(
        "over-optimization",
        f"{what}: past this point answers usually get worse while the loss still falls (arXiv 2406.02900).",
        "Lower optim.lr or raise method.beta, and judge answers; an earlier checkpoint, if there is one, may "
        "be better.",
    )
