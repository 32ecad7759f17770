"""Checks of a complete log, for runs of boresight and of TRL.

The live checks look for problems at a step. The checks in this file examine a curve from start to end, for
the most frequent questions: whether chosen answers became less likely, the loss changed, the reward rose, the
KL exploded. A check returns None if the log does not contain its curve; `questions` then answers "unknown".
"""

from __future__ import annotations

import math

from boresight.core.wording import percent
from boresight.findings.finding import Finding, error, graded, note, warning
from boresight.findings.history import FEWEST, NATS, SCALED_BY_BETA, History, mean, median, variance
from boresight.findings.live_checks import FAR, likelihood_displacement, reward_constant_live

STILL = 1e-6
"""Maximum absolute log-ratio, in nats, that counts as unchanged."""
SMALLEST_FALL = {NATS: 1.0, SCALED_BY_BETA: 0.1}
"""Minimum decrease of the log-ratio of chosen answers for a finding, by unit; beta is usually 0.1."""
FLAT = 0.03
"""Maximum relative change of a loss that counts as flat."""
CUT = 0.5
"""Share of completions cut at the token limit from which the verifier mostly scores incomplete answers."""
PARTS = 5
"""Number of equal parts of a run whose median KL are compared."""
JUMP, FIRST_JUMP = 8.0, 100.0
"""Minimum ratio of the KL of a part to that of the part before that counts as an explosion; `FIRST_JUMP` is
for the first two parts. The KL of a healthy run grows with the square of the distance: by a factor of 3 from
the second part to the third, but by 9 or more from the first to the second."""
HIGH_KL = 0.5
"""Minimum KL on held-out answers that counts as an explosion, in nats per token; `train.guard` stops a run at
0.15 by default."""
SMALLEST_KL = 0.1
"""Minimum KL in a part of a run that counts as an explosion, in nats per token or per answer."""


def nothing_scored(h: History) -> Finding | None:
    """Return the finding `nothing-scored` if no token of an answer enters the loss."""
    logps = [*h.values("chosen_logps"), *h.values("rejected_logps")]
    # The loss of a policy gradient is 0 by its formula at the first update on each rollout.
    losses = [] if logps or h.values("reward") else h.values("loss")
    if len(logps or losses) < FEWEST or any(logps or losses):
        return None
    what = "The loss is" if losses else "The log-probabilities of chosen and rejected answers are"
    return error(
        "nothing-scored",
        f"{what} exactly 0 at all {h.step:,} steps: no token of an answer is scored, because truncation or "
        "the loss mask removes them all.",
        "Look at rows token by token, and raise the maximum length.",
    )


def rewards_stay_zero(h: History) -> Finding | None:
    """Return the finding `rewards-stay-zero` if policy and reference model stay identical for many steps."""
    ratios = [*h.values("chosen_logratio"), *h.values("rejected_logratio")]
    if len(ratios) < FEWEST or max(map(abs, ratios)) > STILL or nothing_scored(h):
        return None
    rates, norms = h.values("lr"), h.values("grad_norm")
    if rates and max(rates) == 0:
        cause = "the learning rate is 0"
    elif norms and max(norms) == 0:
        cause = "every gradient is 0, so no weight is trained: a frozen base without active adapters"
    else:
        cause = "policy and reference are the same weights, or the adapters are not in the forward pass"
    return error(
        "rewards-stay-zero",
        f"The rewards of chosen and rejected answers are 0 at all {h.step:,} steps: {cause}.",
        "Count the trainable weights, load the reference separately, and overfit a few pairs as a test.",
    )


def loss_hides_margin(h: History) -> Finding | None:
    """Return the finding `loss-hides-margin` if the loss is flat although margin and accuracy rise."""
    loss, margin, accuracy = h.trend("loss"), h.trend("margin"), h.trend("accuracy")
    if loss is None or margin is None or accuracy is None or h.values("score"):
        return None
    if abs(loss[1] - loss[0]) > FLAT * abs(loss[0]) or accuracy[1] < 0.65:
        return None
    grown = margin[1] - margin[0]
    if grown <= 3 * margin[2] or (h.unit == NATS and grown < 1):
        return None
    return note(
        "loss-hides-margin",
        f"The loss went from {loss[0]:.4f} to {loss[1]:.4f} while the {h.margin_name} went from "
        f"{margin[0]:.2g} to {margin[1]:.2g} {h.unit} and training accuracy to {accuracy[1]:.2f}: the model "
        "learns, but beta is too small for the loss to show it.",
        f"Judge the run by the {h.margin_name} and held-out accuracy, which mean the same at every beta.",
    )


def chosen_falls(h: History) -> Finding | None:
    """Return the finding `chosen-falls` if chosen answers become less likely while the margin is positive."""
    fall = chosen_change(h)
    margin = h.trend("margin")
    if fall is None or margin is None or margin[1] <= 0 or likelihood_displacement(h):
        return None
    if -fall < SMALLEST_FALL[h.unit]:
        return None
    far = h.unit == NATS and -fall > max(5.0, margin[1])
    kto = h.margin_name != "margin"
    why = (
        f"{'Good' if kto else 'Chosen'} answers are {-fall:.2g} {h.unit} less likely than at the start while "
        f"the {h.margin_name} is {margin[1]:.2g}"
    )
    if far or -fall >= FAR:
        return warning(
            "chosen-falls",
            f"{why}: probability moves to answers that are in neither column (arXiv 2410.08847).",
            "Lower the learning rate, or add a likelihood term on chosen answers.",
        )
    return note(
        "chosen-falls",
        f"{why}: usual, since a preference loss depends on the difference of the two answers only.",
        "Nothing to fix while held-out accuracy rises and samples stay good; otherwise add a likelihood "
        "term.",
    )


def chosen_change(h: History) -> float | None:
    """Return the change of the log-probability of chosen answers, in `h.unit`; None if it is not logged.

    It is that of the held-out rows if these are logged, since a mean over few training rows is noisy; else
    the mean over the last 20 logged steps, or 0 if this is within three standard errors of 0.
    """
    held = h.held_out("chosen_logratio")
    if held is not None:
        return held
    ratio = h.trend("chosen_logratio")
    if ratio is None:
        return None
    # Within three standard errors of 0 the log shows no change.
    return ratio[1] if abs(ratio[1]) > 3 * ratio[2] else 0.0


def answers_truncated(h: History) -> Finding | None:
    """Return the finding `answers-truncated` if at least half of the completions are cut at the token limit,
    so that a verifier finds no answer in them."""
    recent = h.recent("truncated", 20)
    if len(recent) < 5 or mean(recent) < CUT:
        return None
    length = h.recent("sampled_len", len(recent))
    size = f" of {mean(length):,.0f} tokens on average" if length else ""
    return graded(
        "answers-truncated",
        mean(recent),
        0.9,
        f"In the last {len(recent)} logged steps {percent(mean(recent))} of the completions{size} were cut "
        "at the token limit, so a verifier finds no final answer in them.",
        "Raise the limit of new tokens, or ask for shorter answers in the prompt.",
    )


def reward_stuck(h: History) -> Finding | None:
    """Return the finding `reward-stuck` if the reward has not risen after half of the run."""
    trend = h.trend("reward")
    if trend is None or h.progress < 0.5 or reward_constant_live(h) or reward_fell(h):
        return None
    first, last, noise = trend
    if last - first > noise:
        return None
    return warning(
        "reward-stuck",
        f"The mean reward is {last:.3g} at the end and {first:.3g} at the start, a change of "
        f"{last - first:+.2g} ± {2 * noise:.2g}: {_why_stuck(h)}.",
        "Read samples beside their rewards; then raise the learning rate or the number of generations.",
    )


def _why_stuck(h: History) -> str:
    silent, cut = h.recent("zero_variance", 20), h.recent("truncated", 20)
    if cut and mean(cut) >= CUT:
        return "most completions are cut before their answer"
    if silent and mean(silent) >= 0.5:
        return f"in {percent(mean(silent))} of the groups all samples have the same reward and no gradient"
    rates = h.recent("lr_sum", 1)
    spent = f" (learning rates sum to {rates[0]:.1e})" if rates else ""
    return (
        f"the updates are too small to show above the noise{spent}, or the reward does not separate answers"
    )


def reward_fell(h: History) -> Finding | None:
    """Return the finding `reward-fell` if the reward at the end is well below its highest level."""
    found = h.series["train"].get("reward", [])
    if len(found) < 2 * FEWEST:
        return None
    size = max(5, len(found) // 10)
    blocks = [found[i : i + size] for i in range(len(found) % size, len(found), size)]
    means = [mean([value for _, value in block]) for block in blocks]
    noise = math.sqrt(mean([variance([value for _, value in block]) for block in blocks]) * 2 / size)
    best = max(range(len(means)), key=means.__getitem__)
    lost, gained = means[best] - means[-1], means[best] - means[0]
    if lost <= max(4 * noise, 0.5 * gained):
        return None
    return warning(
        "reward-fell",
        f"The mean reward was {means[best]:.3g} around step {blocks[best][-1][0]:,} and is {means[-1]:.3g} "
        "at the end: the policy has left the region of high reward.",
        f"Take a checkpoint of about step {blocks[best][-1][0]:,}, and lower the learning rate.",
    )


def kl_explodes(h: History) -> Finding | None:
    """Return the finding `kl-explodes` if the KL to the start model is too large.

    That is, it is at least `HIGH_KL` on held-out rows, or it jumps from one fifth of the run to the next and
    stays high.
    """
    held = h.held_out("kl_per_token")
    if held is not None and held >= HIGH_KL:
        return _exploded(
            f"The KL to the start model is {held:.2g} nats per token on held-out answers", fell=False
        )
    found = h.series["train"].get("kl", [])
    if len(found) < 2 * FEWEST:
        return None
    size = len(found) // PARTS
    parts = [found[-size * (PARTS - i) :][:size] for i in range(PARTS)]
    level = [median([value for _, value in part]) for part in parts]
    fell = reward_fell(h)
    at = next((i for i in range(1, PARTS) if _jumped(level, i, fell is not None)), None)
    if at is None or level[-1] < level[at] / 2:
        return None
    return _exploded(
        f"The KL to the start model went from {level[at - 1]:.2g} nats around step "
        f"{_middle(parts[at - 1]):,} to {level[at]:.2g} around step {_middle(parts[at]):,}",
        fell=fell is not None,
    )


def _exploded(seen: str, *, fell: bool) -> Finding:
    return graded(
        "kl-explodes",
        float(fell),
        1.0,
        f"{seen}{', and the reward fell' if fell else ''}: the updates are too large.",
        "Lower the learning rate, and raise beta, the weight of the KL; resume from a checkpoint before the "
        "jump.",
    )


def _jumped(level: list[float], at: int, fell: bool) -> bool:
    ratio = JUMP if at > 1 else FIRST_JUMP
    return level[at] >= SMALLEST_KL and level[at] >= ratio * level[at - 1] and (at > 1 or fell)


def _middle(part: list[tuple[int, float]]) -> int:
    return part[len(part) // 2][0]


def kl_negative(h: History) -> Finding | None:
    """Return the finding `kl-negative` if the estimate of the KL is clearly negative.

    This is possible only if the samples do not come from the policy that is scored.
    """
    recent = h.recent("kl", 20)
    if len(recent) < FEWEST:
        return None
    noise = math.sqrt(variance(recent) / len(recent))
    if mean(recent) + 3 * noise >= -1:
        return None
    return warning(
        "kl-negative",
        f"The KL to the start model is {mean(recent):.2g} nats over the last {len(recent)} logged steps; a "
        "KL is never negative, so the samples do not come from the policy that is scored.",
        "Sample without top_k, top_p, a minimum length or penalties, at temperature 1, with dropout off.",
    )
