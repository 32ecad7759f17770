"""The usual questions about a run, answered from logs whose answers are known."""

import pytest

from boresight.findings import live_checks
from boresight.findings.finding import run_checks
from boresight.findings.questions import looked_for
from tests.findings.logs import logged

PROBES = "the answers to probe prompts (at most 64 tokens)"


def answer_to(asked, history):
    (found,) = [line for line in looked_for(history, []) if line.startswith(asked)]
    return found


@pytest.mark.parametrize(
    ("ended", "answer"),
    [
        (
            [0.0, 0.0],
            "yes, 100 % of {} at the last evaluation, 100 % at the start.",
        ),
        (
            [0.5, 0.25],
            "yes, 75 % of {} at the last evaluation, 50 % at the start.",
        ),
        ([0.5, 0.75], "no, 25 % of {} at the last evaluation, 50 % at the start."),
    ],
)
def test_answers_that_were_cut_all_along_are_cut(ended, answer):
    """No rise in the share is no finding, but with every answer cut the answer is not no."""
    history = logged({}, {"stopped_share": ended, "answers": [8.0, 8.0]})
    assert (
        answer_to("Answers are cut", history)
        == f"Answers are cut at the token limit: {answer.format(PROBES)}"
    )


@pytest.mark.parametrize(
    ("ended", "answer"),
    [
        (0.25, f"unknown, 75 % of {PROBES} are cut at the token limit."),
        (0.75, "no, 64 tokens at the start, 60 at the end, held-out rows."),
    ],
)
def test_the_length_of_answers_that_are_cut_is_not_known(ended, answer):
    history = logged({}, {"stopped_share": [ended] * 2, "answer_len": [64.0, 60.0], "answers": [8.0, 8.0]})
    asked = "Answers get shorter or longer"
    assert answer_to(asked, history) == f"{asked}: {answer}"


def test_the_numbers_of_a_trend_are_called_means():
    """The mean of 1 ... 6 is 3.5, of 7 ... 12 it is 9.5; the first value of the log is neither."""
    rising = [float(step) for step in range(1, 13)]
    means = "means of the first and last 6 logged steps"
    assert answer_to("The loss", logged({"loss": rising}, {})) == (
        f"The loss does not move: no, it went from 3.5 to 9.5, {means}."
    )
    both = logged({"reward": rising, "sampled_len": rising}, {})
    assert answer_to("The reward", both).endswith(f"from 3.5 to 9.5 (± 2.2), {means}.")
    assert answer_to("Answers get", both).endswith(f"no, 4 tokens at the start, 10 at the end, {means}.")


def test_a_large_margin_is_no_explosion_of_the_kl():
    """At beta 0.1 a margin of 66 nats was measured where the KL was 0.04 nats per token."""
    history = logged({}, {"margin": [0.0, 66.0], "kl_per_token": [0.0, 0.04]})
    found = run_checks(live_checks, history)
    assert "over-optimization" in [finding.name for finding in found]
    (kl,) = [line for line in looked_for(history, found) if line.startswith("The KL")]
    assert kl == "The KL explodes: no, it is 0.04 nats per token at the end, on held-out rows."


def test_an_answer_is_yes_no_or_unknown():
    for line in looked_for(logged({"loss": [0.7] * 30}, {}), []):
        assert line.split(": ", 1)[1].split(",")[0] in ("yes", "no", "unknown")
