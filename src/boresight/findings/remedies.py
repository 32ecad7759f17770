"""Suggest one command to try for a finding, for the program that wrote the log: boresight or TRL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from boresight.findings.finding import Finding

LESS_RATE = "optim.lr={less_rate}", "--learning_rate {less_rate}"
MORE_RATE = "optim.lr={more_rate}", "--learning_rate {more_rate}"
MORE_LIKELIHOOD = "method.sft_weight={more_likelihood}", ""
FIRST_LIKELIHOOD = 0.2
"""Suggested weight of the likelihood of chosen answers (`method.sft_weight`) for a run without this term."""
WARM = 1.2
"""Suggested sampling temperature if all samples of a prompt have the same reward."""
MOST = 10.0
"""Maximum factor by which a suggested learning rate exceeds that of the run."""
CHECKS: Mapping[str, str] = {"labels-reversed": "", "rewards-stay-zero": " --overfit 32"}
"""Options of `boresight check` by finding, for findings that a check explains better than another run."""
SHOWN: Mapping[str, str] = {"memorizing": " --rows 20", "nothing-scored": ""}
"""Options of `boresight data show` by finding, for findings whose cause is visible in rows. They are used if
`SETTINGS` gives no command."""

SETTINGS: Mapping[str, tuple[str, str]] = {
    "nothing-scored": ("data.max_length={more_length}", ""),
    "not-finite": LESS_RATE,
    "learning-rate-budget": MORE_RATE,
    "not-learning": MORE_RATE,
    "learning-rate-too-high": LESS_RATE,
    "likelihood-displacement": MORE_LIKELIHOOD,
    "chosen-falls": MORE_LIKELIHOOD,
    "over-optimization": LESS_RATE,
    "kl-explodes": LESS_RATE,
    "kl-negative": ("", "--temperature 1.0 --top_p 1.0 --top_k 0"),
    "reward-fell": LESS_RATE,
    "reward-stuck": MORE_RATE,
    "reward-constant-live": ("{warmer}rollout.k={more_samples}", ""),
    "zero-variance-groups": ("rollout.k={more_samples}", ""),
    "answers-truncated": ("rollout.max_new_tokens={more_tokens}", "--max_completion_length {more_tokens}"),
    "entropy-collapse": LESS_RATE,
    "stops-failing": LESS_RATE,
    "repetition": LESS_RATE,
    "gradient-spike": LESS_RATE,
}
"""Suggested settings of boresight and options of TRL's trainers, by finding; "" is no suggestion."""


@dataclass(frozen=True, slots=True)
class LogSource:
    """Facts about the run that wrote a log, which suggested commands need. None is an unknown value.

    `train` is the beginning of a command that trains again, `check` that of a `boresight check`, and `show`
    that of a `boresight data show` of the training data. `rate` is the highest learning rate of the log,
    `tokens` the token limit or the mean length of completions, `length` the maximum row length in tokens,
    `samples` the number of completions per prompt, and `temperature` the sampling temperature.
    """

    train: str
    check: str
    show: str
    of_trl: bool = False
    sft_weight: float | None = None
    """Weight of the likelihood of the chosen answers in the loss; None if it is unknown, or if the method has
    no such term."""
    rate: float | None = None
    tokens: float | None = None
    length: int | None = None
    samples: int | None = None
    temperature: float | None = None

    def command(self, finding: Finding) -> str | None:
        """Return the command to try; None if there is no general remedy, or if a number in it is unknown."""
        if finding.name in CHECKS:
            return self.check + CHECKS[finding.name]
        trained = self._training(finding)
        return self.show + SHOWN[finding.name] if trained is None and finding.name in SHOWN else trained

    def _training(self, finding: Finding) -> str | None:
        """Return a command that trains again with other settings; None if there is none."""
        by_program = SETTINGS.get(finding.name, ("", ""))
        if by_program == MORE_LIKELIHOOD and self.sft_weight is None:
            by_program = LESS_RATE
        settings = by_program[self.of_trl]
        if not settings:
            return None
        try:
            return f"{self.train} {settings.format_map(self._numbers(dict(finding.numbers)))}"
        except KeyError:
            return None

    def _numbers(self, evidence: Mapping[str, float]) -> dict[str, str]:
        known: dict[str, str] = {}
        if self.rate:
            times = min(MOST, max(3.0, evidence.get("times", 3.0)))
            known |= {"less_rate": f"{self.rate / 3:.1e}", "more_rate": f"{self.rate * times:.1e}"}
        if self.length:
            known["more_length"] = f"{2 * self.length}"
        if self.tokens:
            known["more_tokens"] = f"{2 * self.tokens:.0f}"
        if self.samples:
            known["more_samples"] = f"{2 * self.samples}"
        if self.temperature is not None:
            known["warmer"] = f"rollout.temperature={WARM:g} " if self.temperature < WARM else ""
        if self.sft_weight is not None:
            known["more_likelihood"] = f"{2 * self.sft_weight or FIRST_LIKELIHOOD:g}"
        return known
