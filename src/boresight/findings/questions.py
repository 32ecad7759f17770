"""Answer frequent questions about a run from its log: yes, no with numbers, or unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from boresight.core.wording import percent
from boresight.findings.finding import Finding
from boresight.findings.history import History, mean
from boresight.findings.log_checks import CUT, chosen_change

Seen = Callable[[History], str | None]


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A frequent question about a run.

    `asked` is its text, and `findings` are the names of findings that mean yes. `seen` is a function that
    returns the answer if there is no such finding, or None if the log does not contain `metric`.
    """

    asked: str
    findings: tuple[str, ...]
    metric: str
    seen: Seen


def _chosen(h: History) -> str | None:
    change = chosen_change(h)
    return None if change is None else f"no, they changed by {change:+.2g} {h.unit}"


def _loss(h: History) -> str | None:
    loss = h.trend("loss")
    if loss is None:
        return None
    if h.values("reward"):
        return "no, a policy-gradient loss stays near 0 by its formula; watch the reward instead"
    return f"no, it went from {loss[0]:.4g} to {loss[1]:.4g}{_ends(h, 'loss')}"


def _reward(h: History) -> str | None:
    reward = h.trend("reward")
    if reward is None:
        return None
    return f"no, it went from {reward[0]:.3g} to {reward[1]:.3g} (± {2 * reward[2]:.2g}){_ends(h, 'reward')}"


def _ends(h: History, name: str) -> str:
    """Describe the two numbers of a trend."""
    return f", means of the first and last {h.trend_size(name)} logged steps"


def _kl(h: History) -> str | None:
    kl, held = h.recent("kl", 20), h.held_out("kl_per_token")
    if held is not None:
        return f"no, it is {held:.2g} nats per token at the end, on held-out rows"
    return f"no, it is {mean(kl):.2g} nats over the last {len(kl)} logged steps" if kl else None


LONGEST_PROBE = 64
"""Maximum length of an answer to a probe prompt, in tokens: enough to detect a loop, and cheap."""


def _length(h: History) -> str | None:
    length, held = h.trend("sampled_len"), h.values("answer_len", "eval")
    if (cut := _share_cut(h)) is not None and cut >= CUT:
        return f"unknown, {percent(cut)} of {_measured(h)} are cut at the token limit"
    if length is not None:
        return f"no, {length[0]:.0f} tokens at the start, {length[1]:.0f} at the end{_ends(h, 'sampled_len')}"
    return (
        f"no, {held[0]:.0f} tokens at the start, {held[-1]:.0f} at the end, held-out rows"
        if len(held) > 1
        else None
    )


def _share_cut(h: History) -> float | None:
    """Return the share of the latest answers that the token limit cut; None if it is not logged."""
    if cut := h.recent("truncated", 20):
        return mean(cut)
    ended = h.values("stopped_share", "eval")
    return 1 - ended[-1] if ended else None


def _cut(h: History) -> str | None:
    share = _share_cut(h)
    if share is None:
        return None
    if steps := len(h.recent("truncated", 20)):
        return f"{_often(share)}, {percent(share)} in the last {steps} logged steps"
    first = 1 - h.values("stopped_share", "eval")[0]
    of_all = f"{percent(share)} of {_measured(h)}"
    return f"{_often(share)}, {of_all} at the last evaluation, {percent(first)} at the start"


def _measured(h: History) -> str:
    """Describe the answers whose ends are logged, with their limit, which is not that of all answers."""
    if h.recent("truncated", 20):
        return "the sampled answers"
    if h.values("reward", "eval"):
        return "the held-out answers (at most evaluate.max_new_tokens)"
    return f"the answers to probe prompts (at most {LONGEST_PROBE} tokens)"


def _often(share: float) -> str:
    """Return `yes` if at least the share `CUT` of the answers is cut, else `no`.

    If they have been cut since the start, no finding reports it, since findings are about a change.
    """
    return "yes" if share >= CUT else "no"


QUESTIONS = (
    AskedQuestion(
        "chosen rewards fall", ("likelihood-displacement", "chosen-falls"), "chosen_logratio", _chosen
    ),
    AskedQuestion(
        "the loss does not move",
        (
            "nothing-scored",
            "rewards-stay-zero",
            "learning-rate-budget",
            "not-learning",
            "loss-hides-margin",
            "loss-hides-learning",
        ),
        "loss",
        _loss,
    ),
    AskedQuestion(
        "the reward is stuck",
        (
            "reward-constant-live",
            "answers-truncated",
            "zero-variance-groups",
            "reward-stuck",
            "reward-fell",
            "reward-hacking",
            "reward-flat-held-out",
        ),
        "reward",
        _reward,
    ),
    AskedQuestion("the KL explodes", ("kl-explodes", "kl-negative"), "kl", _kl),
    AskedQuestion("answers get shorter or longer", ("length-drift", "stops-failing"), "sampled_len", _length),
    AskedQuestion(
        "answers are cut at the token limit", ("answers-truncated", "stops-failing"), "truncated", _cut
    ),
)


def looked_for(
    h: History, findings: Iterable[Finding], name_of: Callable[[str], str] = lambda name: name
) -> list[str]:
    """Answer each question in one sentence; `name_of` maps a metric to its name in the log."""
    found = [finding.name for finding in findings]
    return [_answer(question, h, found, name_of) for question in QUESTIONS]


def _answer(question: AskedQuestion, h: History, found: Sequence[str], name_of: Callable[[str], str]) -> str:
    asked = question.asked[0].upper() + question.asked[1:]
    if named := [name for name in found if name in question.findings]:
        return f"{asked}: yes, see {' and '.join(named)}."
    seen = question.seen(h)
    if seen is None:
        return f"{asked}: unknown, this log has too few values of {name_of(question.metric)}, or none."
    return f"{asked}: {seen}."
