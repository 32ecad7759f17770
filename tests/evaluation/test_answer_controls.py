"""Planted candidates that a judge may prefer: one answer to everything, or nearly one, and echoes."""

from __future__ import annotations

import gzip
import json

import pytest

from boresight.core.schema import Prompt
from boresight.evaluation.answer_controls import answer_controls
from boresight.evaluation.win_rate import System, tournament, win_rate
from boresight.reports.evaluations.win_rate import win_rate_headline
from tests.scorers.fakes import LengthScorer

TOPICS = [
    "tea",
    "snow",
    "trains",
    "owls",
    "salt",
    "maps",
    "rope",
    "glass",
    "moss",
    "kites",
    "coins",
    "drums",
] * 4
PROMPTS = [
    Prompt(
        [
            {
                "role": "user",
                "content": f"Tell me in two or three plain sentences number {i} what is good about {t}.",
            }
        ],
        f"p{i}",
    )
    for i, t in enumerate(TOPICS)
]
CONSTANT = (
    "Here is a complete and careful answer that any judge of such a question would surely have to prefer."
)
VARIED = [
    f"{t.capitalize()} number {i} is {['useful', 'quiet', 'old', 'cheap', 'warm'][i % 5]}, lasting {i} years."
    for i, t in enumerate(TOPICS)
]


def prompted(i):
    return PROMPTS[i].prompt[-1]["content"]


def test_healthy_answers_have_no_fault():
    found = answer_controls(PROMPTS, VARIED)
    assert (found.distinct, found.repeated.n, found.fault, found.caution("a")) == (48, 48, "", "")


PLANTED = {
    "constant": [CONSTANT] * 48,
    "constant but for case": [CONSTANT.upper() if i % 2 else CONSTANT for i in range(48)],
    "near-constant": [f"{CONSTANT} This is about {t}." for t in TOPICS],
    "constant half of the time": [CONSTANT if i % 2 else VARIED[i] for i in range(48)],
    "empty": [""] * 48,
    "short": ["I cannot help."] * 48,
}
ECHOES = {
    "echo": [prompted(i) for i in range(48)],
    "echo, and more": [f"{prompted(i)} {VARIED[i]}" for i in range(48)],
    "near echo": [prompted(i).replace("Tell", "Say") for i in range(48)],
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_candidate_that_repeats_itself_is_named(name):
    found = answer_controls(PROMPTS, PLANTED[name])
    assert found.fault == "one answer to many prompts"
    n = 24 if "half" in name else 48
    assert f"But new gives one answer, or nearly, to {n} of 48 prompts" in found.caution("new")


@pytest.mark.parametrize("name", ECHOES)
def test_a_candidate_that_repeats_its_prompts_is_named(name):
    found = answer_controls(PROMPTS, ECHOES[name])
    assert found.fault == "copies of the prompts"
    assert found.caution("new") == "But 48 of 48 answers of new repeat their prompt."


def test_distinct_answers_are_counted_without_case_and_punctuation():
    assert answer_controls(PROMPTS[:4], ["Yes.", "yes", "no", "No!"]).distinct == 2
    assert answer_controls(PROMPTS[:2], [None, None]) is None
    assert answer_controls(PROMPTS[:3], [None, "a", "b"]).repeated.n == 2


def test_short_answers_may_be_the_same():
    """Yes to 30 of 48: a question with two answers. Yes to all is one answer."""
    assert answer_controls(PROMPTS, ["yes"] * 30 + ["no"] * 18).fault == ""
    assert answer_controls(PROMPTS, ["yes"] * 48).fault == "one answer to many prompts"


def test_two_prompts_are_too_few_to_call_an_answer_constant():
    """2 of 2 is at least 16 % by Clopper and Pearson, 3 of 3 at least 29 %."""
    assert answer_controls(PROMPTS[:2], [CONSTANT] * 2).fault == ""
    assert answer_controls(PROMPTS[:3], [CONSTANT] * 3).fault != ""


def systems(**answers):
    return [System(name, {f"p{i}": text for i, text in enumerate(texts)}) for name, texts in answers.items()]


def test_the_verdict_and_the_headline_say_it():
    """The judge likes length, so the constant wins every time: without a control, by 50 points."""
    pair = win_rate(PROMPTS, *systems(old=VARIED, const=[CONSTANT] * 48), LengthScorer())
    assert pair.compared.startswith("const beats old by 50.0 points")
    assert pair.verdict == f"{pair.compared} {pair.controls['const'].caution('const')}"
    assert win_rate_headline(pair) == (
        "const is preferred to old with one answer to many prompts, on 100.0 % [92.6, 100.0] of 48 prompts"
    )
    assert pair.as_dict()["answers"]["const"]["distinct"] == 1
    assert pair.as_dict()["answers"]["old"]["fault"] == ""


def test_every_system_of_a_tournament_is_looked_at():
    found = tournament(
        PROMPTS, systems(old=VARIED, const=[CONSTANT] * 48, echo=ECHOES["echo"]), LengthScorer()
    )
    assert found.distinct_answers == "Distinct answers: old 48 of 48, const 1 of 48, echo 48 of 48."
    const, echo, both = found.verdicts
    assert "after Holm's adjustment. But const gives one answer" in const
    assert "But 48 of 48 answers of echo repeat" in echo
    assert "But const gives" in both and "answers of echo repeat" in both


@pytest.mark.real_data
@pytest.mark.parametrize("model", ["gpt4_1106_preview", "phi-2", "gemma-2b-it", "alpaca-7b"])
def test_public_answers_have_no_fault(real_data, model):
    """805 instructions, of which these models leave up to 22 empty or repeat up to 17."""
    folder = real_data / "alpaca_eval"
    if not folder.is_dir():
        pytest.skip(f"no answers at {folder}")
    instructions = (folder / "instructions.jsonl").read_text("utf-8").splitlines()
    asked = {row["id"]: row["instruction"] for row in map(json.loads, instructions)}
    with gzip.open(folder / "model_outputs.share.jsonl.gz", "rt") as lines:
        said = {row["id"]: row["output"] for row in map(json.loads, lines) if row["model"] == model}
    prompts = [Prompt([{"role": "user", "content": asked[id]}], str(id)) for id in said]
    found = answer_controls(prompts, list(said.values()))
    assert found.fault == "" and found.distinct > 780
