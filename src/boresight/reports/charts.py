"""Define the charts that a report may have: the metrics of each, and a sentence on how to read it.

A chart appears if a run logged any of its metrics; `figures` draws it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Curve:
    """The curve of one metric on one split (`train` or `eval`)."""

    metric: str
    label: str
    color: str
    split: str = "train"
    dash: str = "solid"


@dataclass(frozen=True)
class Chart:
    """The definition of one chart. `reading` is a sentence for a reader to whom the chart is new."""

    title: str
    unit: str
    reading: str
    curves: tuple[Curve, ...]
    band: tuple[str, str] | None = None
    kind: Literal["linear", "log"] = "linear"
    unit_from: str = ""
    """Name of the property of the method's settings that is the unit of the chart, in place of `unit`."""
    guide: str | None = None
    """Name of a reference line that `figures` computes from the run."""
    is_share: bool = False
    is_of_rows: bool = True
    """Whether values are means over rows, whose number the caption contains; False for example for a learning
    rate."""
    told: tuple[str, str] | None = None
    """A metric, and the format of a sentence of the caption with its mean over the run and the number of
    steps."""


def both(metric: str, train: str = "training", held_out: str = "held out") -> tuple[Curve, Curve]:
    """Return the curves of a metric on the training batches and on the held-out rows."""
    return (
        Curve(metric, train, "after"),
        Curve(metric, held_out, "held-out", split="eval"),
    )


TRUNCATED = ("truncated_share", "{} of the rows of {:,} steps were truncated.")

CHARTS = (
    Chart(
        "Loss",
        "nats",
        "Falls as the policy fits the training data; watch the held-out line.",
        both("loss"),
        unit_from="loss_unit",
        guide="ln2",
    ),
    Chart(
        "Preference loss",
        "nats",
        "The part of the loss that compares the answers of a pair.",
        both("preference_loss"),
    ),
    Chart(
        "Accuracy",
        "",
        "How often the chosen answer leads the rejected one; of single answers, how many are on their "
        "label's side of the reference point.",
        both("accuracy"),
        guide="half",
        is_share=True,
    ),
    Chart(
        "Margin",
        "nats",
        "How far chosen answers lead rejected ones; of single answers, how far the log-ratio is beyond the "
        "reference point, on the label's side. The band holds the middle 80 %.",
        both("margin"),
        band=("margin_p10", "margin_p90"),
        unit_from="margin_unit",
        guide="zero",
    ),
    Chart(
        "Log-ratio to the reference",
        "nats",
        "Positive: more likely than before training. If both fall, answers of both kinds become less likely.",
        (
            Curve("chosen_logratio", "chosen", "chosen"),
            Curve("rejected_logratio", "rejected", "rejected"),
            Curve("chosen_logratio", "chosen, held out", "chosen", split="eval", dash="dot"),
            Curve("rejected_logratio", "rejected, held out", "rejected", split="eval", dash="dot"),
            Curve("reference_point", "reference point", "before"),
        ),
        guide="zero",
    ),
    Chart("Reward", "", "Mean reward of the answers.", both("reward")),
    Chart(
        "Score level",
        "",
        "Mean score of both answers. Only differences are learned, so it drifts without method.centering.",
        both("score"),
    ),
    Chart(
        "Distance from the reference",
        "nats per token",
        "How far the policy has moved from the reference to reach the margin.",
        (
            Curve("logratio_per_token", "log-ratio, training", "after"),
            Curve("kl_per_token", "KL, training", "before"),
            Curve("kl_per_token", "KL, held out", "held-out", split="eval"),
        ),
        guide="zero",
    ),
    Chart(
        "Negative log-likelihood",
        "nats per token",
        "Falls as the answers to learn become more likely under the model.",
        both("nll_per_token"),
    ),
    Chart(
        "Gradient norm",
        "",
        "Before clipping. AdamW divides by the usual size of a gradient, so that runs whose steps are all "
        "clipped learn as fast. Above the line the step is scaled down to it.",
        (Curve("grad_norm", "norm", "after"),),
        kind="log",
        guide="clip",
        told=("clipped", "{} of {:,} steps were clipped."),
        is_of_rows=False,
    ),
    Chart(
        "Learning rate",
        "",
        "By the schedule, with its warm-up.",
        (Curve("lr", "rate", "after"),),
        is_of_rows=False,
    ),
    Chart(
        "Sum of learning rates",
        "",
        "Under Adam a weight moves at most about this far.",
        (Curve("lr_sum", "sum so far", "after"),),
        is_of_rows=False,
    ),
    Chart(
        "Answer length",
        "tokens",
        "Chosen and rejected answers should be equally long; otherwise the model learns their length.",
        (Curve("chosen_len", "chosen", "chosen"), Curve("rejected_len", "rejected", "rejected")),
        told=TRUNCATED,
    ),
    Chart(
        "Answer length",
        "tokens",
        "Mean length of the answers that are trained on.",
        both("length"),
        told=TRUNCATED,
    ),
    Chart(
        "Length of sampled answers",
        "tokens",
        "Mean length of sampled answers, which end at the token limit at the latest.",
        (Curve("sampled_len", "sampled", "after"), Curve("answer_len", "held out", "held-out", split="eval")),
    ),
    Chart(
        "Answers that end",
        "",
        "Share of sampled answers that end before the token limit.",
        both("stopped_share", "sampled"),
        is_share=True,
    ),
    Chart(
        "Answers in a loop",
        "",
        "Share of sampled answers that end in the same few tokens over and over.",
        both("repetition_share", "sampled"),
        is_share=True,
    ),
    Chart(
        "Answers unlike all others",
        "",
        "Share of sampled answers that no other prompt was given too; it falls where answers stop depending "
        "on their prompts.",
        both("distinct_share", "sampled"),
        is_share=True,
    ),
    Chart(
        "Log-probability of sampled answers",
        "nats per token",
        "Rises as the policy concentrates on fewer answers.",
        (Curve("logp_per_token", "sampled", "after"),),
    ),
    Chart(
        "Advantage",
        "",
        "Mean size of the advantages; 0 means that there is no gradient.",
        (Curve("advantage", "sampled", "after"),),
    ),
    Chart(
        "Prompts without a gradient",
        "share",
        "All samples of these prompts have the same reward, or fewer than two have one.",
        (
            Curve("zero_variance", "same reward", "after"),
            Curve("too_few_scored", "fewer than two scored", "before"),
        ),
    ),
    Chart(
        "Pairs without a preference",
        "share",
        "Both samples are identical, have the same reward, or one has no score.",
        (
            Curve("identical_share", "identical", "before"),
            Curve("ties_share", "ties", "after"),
            Curve("unscorable_share", "unscorable", "held-out"),
        ),
    ),
    Chart(
        "Answers without a score",
        "share",
        "Their reward function failed or returned nothing.",
        (Curve("unscorable", "sampled", "after"),),
    ),
    Chart(
        "Answers cut at the limit",
        "share",
        "They reached the limit of new tokens.",
        (Curve("truncated", "sampled", "after"),),
    ),
    Chart(
        "Rounding between sampler and trainer",
        "nats per token",
        "Log-probability of the trainer minus that of the sampler; both use the same weights.",
        (
            Curve("sampler_gap", "largest mean of an answer", "after"),
            Curve("sampler_shift", "mean", "before"),
        ),
    ),
    Chart(
        "Rounding between sampler and trainer: spread",
        "nats per root of tokens",
        "The largest of an answer; grows with the root of its length where errors are independent.",
        (Curve("sampler_spread", "largest of an answer", "after"),),
    ),
    Chart(
        "Verifier calls",
        "calls",
        "Answers scored so far.",
        (Curve("verifier_calls", "calls so far", "after"),),
        is_of_rows=False,
    ),
    Chart(
        "Throughput",
        "tokens per second",
        "Trained tokens per second of a step.",
        (Curve("tokens_per_second", "tokens per second", "after"),),
        is_of_rows=False,
    ),
)

# Metrics that get no chart of their own, since they are shown elsewhere or together with another metric.
NOT_ALONE = {
    "step",
    "split",
    "clipped",
    "truncated_share",
    "seconds",
    "margin_p10",
    "margin_p50",
    "margin_p90",
    "chosen_logps",
    "rejected_logps",
    "n",
    "peak_memory_gb",
    "answers",
    "answer_len_error",
    "reward_error",
}
