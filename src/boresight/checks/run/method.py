"""Check the settings of a method, and the signs of its loss's gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from boresight.checks.forecast.expected_loss import expected_loss
from boresight.config.recipe import Recipe
from boresight.core.wording import plural
from boresight.findings.finding import Finding, error, note, warning
from boresight.methods import Method
from boresight.methods.base import MethodConfig
from boresight.training.forward import INPUT_KINDS, InputKind

FEW_STEPS = 30
"""Minimum number of steps; a shorter run is too short for its learning-rate schedule."""
ROUNDING = 1e-9
"""Absolute value below which a gradient counts as zero."""
LARGEST_TARGET = 20.0
"""Margin in nats beyond which every published or measured run was over-optimized."""
GOOD_MARGIN = 5.0
"""Margin of a good run, in nats."""
ASSUMED_TOKENS = 100.0
"""Length of an answer in tokens that is assumed if the data cannot be read."""
BALANCED = (1.0, 4 / 3)
"""Range of the ratio of good to bad answers, each count multiplied by its weight, in which labels are
balanced."""
ROUNDED = 0.01
"""Relative tolerance of that range, for weights that are written with three digits."""
HIDDEN = 0.9
"""Share of the initial loss at `GOOD_MARGIN` from which the loss curve looks flat even if the policy learns
well."""


@dataclass(frozen=True)
class MethodSetting:
    """A recipe's method, and the properties of the run that its checks need.

    `answer_tokens` is the mean length of an answer in tokens, `steps` the number of optimizer steps, `labels`
    the numbers of good and of bad answers, and `rows` the number of training rows; None where the data cannot
    be read.
    """

    recipe: Recipe
    method: Method
    answer_tokens: float | None = None
    steps: int | None = None
    parameters: int | None = None
    labels: Sequence[int] | None = None
    rows: int | None = None

    @property
    def cfg(self) -> MethodConfig:
        """The method's settings at the start of the run."""
        return self.recipe.method.at(0.0)

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.method.name

    @property
    def kind(self) -> InputKind:
        """Input type of the method's loss."""
        return INPUT_KINDS[self.method.Input]

    @property
    def in_words(self) -> str:
        """The method's settings as text, such as `tau 0.01, reduction sum`."""
        values = {k: v for k, v in self.cfg.model_dump().items() if v is not None and not isinstance(v, bool)}
        return ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())

    def loss_at(self, margin: float) -> float | None:
        """Return the loss of a pair at a margin in nats; None if the margin does not determine it."""
        return expected_loss(self.method, self.cfg, margin)

    @cached_property
    def directions(self) -> dict[str, float]:
        """Gradients of the loss at synthetic inputs (`gradient_signs.directions`); empty for types of input
        that have no synthetic input."""
        from boresight.checks.run.gradient_signs import directions

        return directions(self.method, self.cfg)


# The loss as a function ---------------------------------------------------------------------------------


def gradient_direction(setting: MethodSetting) -> Finding | None:
    """Return the finding `gradient-direction` if the loss has the wrong sign, else None.

    The loss must make the better answer likelier: the chosen one of a pair, or the better-rewarded sample.
    """
    slope = setting.directions.get("better")
    if slope is None or slope < 0:
        return None
    return error(
        "gradient-direction",
        f"At the first step the loss of {setting.name} "
        f"{'does not push' if slope == 0 else 'pushes down'} the log-probability of the better answer "
        f"(gradient {slope:+.2g} where it must be negative).",
        "Check the sign of the margin or of the advantage in the loss.",
    )


def kl_sign(setting: MethodSetting) -> Finding | None:
    """Return the finding `kl-sign` if the KL term rewards distance from the reference, else None."""
    slope = setting.directions.get("strayed")
    if slope is None or slope > -ROUNDING:
        return None
    return error(
        "kl-sign",
        f"Of two samples with equal reward, the loss of {setting.name} raises the probability of "
        "the one that has moved further from the reference: the KL term has the wrong sign.",
        "Subtract beta * (log pi - log ref) from the reward, do not add it.",
    )


def kl_without_effect(setting: MethodSetting) -> Finding | None:
    """Return the finding `kl-without-effect` if the KL weight does not change any gradient, else None."""
    slope = setting.directions.get("strayed")
    if slope is None or abs(slope) > ROUNDING:
        return None
    return error(
        "kl-without-effect",
        f"The KL weight of {setting.name} does not change the gradient of a sample that has moved away from "
        "the reference, as when the log-ratio is a plain term of the loss: on the policy's own samples the "
        "expected gradient of that term is zero.",
        "Put the KL into the reward, before the baseline.",
    )


# Settings -----------------------------------------------------------------------------------------------


def alpha_dominates(setting: MethodSetting) -> Finding | None:
    """Return the finding `alpha-dominates` if the exploration bonus outweighs the preference, else None."""
    share = setting.cfg.dominating_bonus
    if share is None:
        return None
    return error(
        "alpha-dominates",
        f"With {setting.in_words} the bonus lowers the probability of an answer with {share:.2g} times the "
        "gradient of the preference at the first step, without a lower limit, so that generations "
        "degenerate.",
        "Use an alpha of 1e-6 to 1e-5, as the open online implementations do.",
        numbers=(("share", share),),
    )


def not_exploring(setting: MethodSetting) -> Finding | None:
    """Return the finding `not-exploring` if an exploration bonus acts on fixed answers, else None.

    Offline XPO has such a bonus.
    """
    if not setting.cfg.explores or setting.kind.online:
        return None
    return note(
        "not-exploring",
        "Offline XPO samples nothing, and the answer that alpha acts on was not drawn from the reference, "
        "so the guarantee of XPO (arXiv 2405.21046) does not hold.",
        "Use method xpo with prompts and a reward, or plain dpo.",
    )


def ipo_target(setting: MethodSetting) -> Finding | None:
    """Return the finding `ipo-target` if the loss requires a margin that no run reaches, else None."""
    target, per_token = setting.cfg.target_margin, setting.cfg.per_token
    if target is None:
        return None
    tokens = setting.answer_tokens if per_token else 1.0
    nats = target * (tokens or ASSUMED_TOKENS)
    if nats <= LARGEST_TARGET * (1 if not per_token else 5):
        return None
    assumed = "" if tokens else f" of an assumed {ASSUMED_TOKENS:g} tokens"
    unit = f"nats per token, about {nats:,.0f} per answer{assumed}" if per_token else "nats per answer"
    start = setting.loss_at(0.0)
    return warning(
        "ipo-target",
        f"With {setting.in_words} the loss asks for a margin of {target:g} {unit}: it "
        f"{'' if start is None else f'starts at {start:,.0f}, '}hardly changes, and raises the margin "
        f"without a limit; in published runs and ours answers get worse beyond {LARGEST_TARGET:g} nats.",
        "Set a target of about 5 nats per answer; in IPO, by tau 0.1 with reduction sum, or 0.5 or more with "
        "mean.",
        numbers=(("target_nats", nats),),
    )


def loss_hides_learning(setting: MethodSetting) -> Finding | None:
    """Return the finding `loss-hides-learning` if the loss stays near its start, else None.

    At a small beta it does so however well the policy learns.
    """
    beta = getattr(setting.cfg, "beta", None)
    start, good = setting.loss_at(0.0), setting.loss_at(GOOD_MARGIN)
    if not beta or start is None or good is None or setting.cfg.per_token or good < HIDDEN * start:
        return None
    return warning(
        "loss-hides-learning",
        f"At beta {beta:g} a margin of {GOOD_MARGIN:g} nats, that of good published runs, still reads as a "
        f"loss of {good:.3f}: the curve looks flat even if the policy learns.",
        "Watch margin and held-out accuracy, or use beta 0.1.",
    )


def kl_too_strong(setting: MethodSetting) -> Finding | None:
    """Return the finding `kl-too-strong` if the KL penalty can exceed the reward of a verifier, else None."""
    beta = getattr(setting.cfg, "beta", None)
    if setting.kind.samples != "group" or beta is None or beta <= 0.1:
        return None
    return warning(
        "kl-too-strong",
        f"With beta {beta:g} ten nats of KL cost {10 * beta:g}, more than the 1 that a verifier usually pays "
        "for a correct answer.",
        "Use 0.001 to 0.05.",
    )


def one_label(setting: MethodSetting) -> Finding | None:
    """Return the finding `one-label` if all answers have the same label, else None.

    Only methods that contrast good and bad answers are checked.
    """
    if setting.cfg.label_weights is None or not setting.labels or 0 not in setting.labels:
        return None
    good = setting.labels[0] > 0
    name, other, way = ("good", "bad", "likelier") if good else ("bad", "good", "less likely")
    return warning(
        "one-label",
        f"All {sum(setting.labels):,} answers are labeled {name}: the loss falls by making every answer "
        f"{way}, and held-out accuracy does not show whether the model distinguishes good answers from bad.",
        f"Add {other} answers{', or learn these with method.name=sft' if good else ''}.",
        count=sum(setting.labels),
    )


def label_weights(setting: MethodSetting) -> Finding | None:
    """Return the finding `label-weights` if good or bad answers dominate the gradient, else None."""
    if setting.cfg.label_weights is None or not setting.labels or 0 in setting.labels:
        return None
    (good, bad), (good_weight, bad_weight) = setting.labels, setting.cfg.label_weights
    ratio, (least, most) = good * good_weight / (bad * bad_weight), BALANCED
    if least * (1 - ROUNDED) <= ratio <= most * (1 + ROUNDED):
        return None
    if ratio < least:
        name, low, high = "desirable_weight", good_weight * least / ratio, good_weight * most / ratio
    else:
        name, low, high = "undesirable_weight", bad_weight * ratio / most, bad_weight * ratio / least
    return warning(
        "label-weights",
        f"{good:,} good answers of weight {good_weight:g} count {ratio:.3g} times as much as {bad:,} bad "
        f"ones of weight {bad_weight:g}; the authors of KTO recommend 1 to 4/3 (arXiv 2402.01306, "
        "equation 8).",
        f"Set method.{name}={math.sqrt(low * high):.3g} ({low:.3g} to {high:.3g}).",
        numbers=(("ratio", ratio), ("low", low), ("high", high)),
    )


def few_rollouts(setting: MethodSetting) -> Finding | None:
    """Return the finding `few-rollouts` if the run samples fewer than 10,000 answers, else None."""
    if setting.kind.samples != "group" or setting.steps is None:
        return None
    rollout = setting.recipe.rollout
    rollouts = setting.steps // rollout.updates
    count = rollouts * setting.recipe.train.batch * rollout.k
    if count >= 10_000:
        return None
    return warning(
        "few-rollouts",
        f"The run draws {plural(count, 'answer')} in {plural(rollouts, 'rollout')} of "
        f"{setting.recipe.train.batch * rollout.k:,}; a public 0.5B Countdown run that went from 0.30 to "
        "0.64 correct drew 102,400 in rollouts of 1,024.",
        "Raise rollout.k and train.batch first, then the number of steps.",
        count=count,
    )


def few_steps(setting: MethodSetting) -> Finding | None:
    """Return the finding `few-steps` if the run has fewer than `FEW_STEPS` steps, else None.

    A run whose length is set by `train.steps` is not checked.
    """
    if setting.steps is None or setting.steps >= FEW_STEPS or setting.recipe.train.steps:
        return None
    warm = setting.recipe.optim.warmup * setting.steps
    epochs = _epochs_of_enough_steps(setting, setting.steps)
    return warning(
        "few-steps",
        f"The run has {plural(setting.steps, 'optimizer step')}; warm-up takes {warm:.1f}.",
        f"Take more epochs (train.epochs={epochs} for {FEW_STEPS} steps) or a smaller batch.",
        count=setting.steps,
        numbers=(("epochs", epochs),),
    )


def _epochs_of_enough_steps(setting: MethodSetting, steps: int) -> int:
    """Return the smallest whole number of epochs with at least `FEW_STEPS` steps.

    If the number of rows is unknown, it is scaled from the run's `steps`.
    """
    train = setting.recipe.train
    if setting.rows is None:
        return math.ceil(FEW_STEPS * (train.epochs or 1) / steps)
    updates = setting.recipe.rollout.updates if setting.kind.online else 1
    batches = math.ceil(FEW_STEPS / updates)
    return train.batch * (batches - 1) // setting.rows + 1  # the last batch may hold one row


def reward_pays_for_wrong(setting: MethodSetting) -> Finding | None:
    """Return the finding `reward-pays-for-wrong` if wrong answers can have a reward, else None.

    The shaped reward `countdown_shaped` has it for answers that the evaluation counts as wrong.
    """
    if not any(reward.function == "countdown_shaped" for reward in setting.recipe.reward):
        return None
    return warning(
        "reward-pays-for-wrong",
        "The reward countdown_shaped pays up to 0.6 for wrong answers, while the score counts right ones.",
        "Use reward countdown, which pays 1 for right answers and 0.1 for form.",
    )
