"""Confirmatory questions, answered from files of results."""

import numpy as np
import pytest

from boresight.core.errors import UserError
from boresight.experiments.study.blocks import START
from boresight.experiments.study.outcomes.collection import Outcomes
from boresight.experiments.study.outcomes.file import (
    OutcomeFile,
    PromptResult,
    outcome_path,
    write_outcome_file,
)
from boresight.experiments.study.outcomes.questions import answer_questions, question_of, question_sentence
from boresight.experiments.study.plan import ArmRun, StudyPlan
from boresight.stats.pooled_seeds import SeedValues, pooled_difference

PROMPTS = 120


def question(title, of, to, **more):
    return {"title": title, "of": of, "to": to, "margin": 0.1, "pool": ["a", "b", "c"]} | more


@pytest.fixture
def plan(tmp_path):
    """Arms a, b and c with 3, 3 and 4 seeds: b is right 30 points more often than a, c as often as a."""
    arm = {"group": "g", "recipe": "r.yaml", "block": "B"}
    block = {"title": "B", "start": "starter", "prompts": "p", "reward": [{"function": "f"}]}
    return StudyPlan.parse(
        {
            "title": "t",
            "groups": {"g": {"title": "G", "metrics": []}},
            "arms": {
                name: {**arm, "title": name, "seeds": list(range(count))}
                for name, count in {"a": 3, "b": 3, "c": 4}.items()
            },
            "outcomes": str(tmp_path),
            "blocks": {"B": block},
            "questions": [
                question("b against a", "a", "b"),
                question("a against c", "c", "a"),
                question("a against start", START, "a", asks="not worse"),
                question("areas", "a", "b", metric="area", margin=0.05),
            ],
        }
    )


def write(plan, tmp_path, skip=()):
    rng = np.random.default_rng(2)
    for name, share in {"a": 0.4, "b": 0.7, "c": 0.4}.items():
        for seed in plan.arms[name].seeds:
            right = (np.arange(PROMPTS) % 10 < 10 * share) ^ (rng.random(PROMPTS) < 0.02)
            _write_one(tmp_path, ArmRun(name, seed), right, {"seconds": 1.0, "area": share + seed / 100})
    _write_one(tmp_path, None, np.arange(PROMPTS) % 10 < 4, {"seconds": 0.0})
    for run in skip:
        outcome_path(tmp_path, "B", run).unlink()


def _write_one(folder, run, right, numbers):
    values = [float(value) for value in right.tolist()]
    rows = [PromptResult(f"p{i}", f"t{i % 40}", {"reward": [value]}) for i, value in enumerate(values)]
    arm, seed = (START, None) if run is None else (run.arm, run.seed)
    write_outcome_file(outcome_path(folder, "B", run), OutcomeFile(arm, seed, {}, numbers, [], {}, rows))


def test_a_family_is_answered_from_its_files(plan, tmp_path):
    write(plan, tmp_path)
    answered = answer_questions(Outcomes(plan))
    assert [a.decision.answer for a in answered] == ["better", "equivalent", "not worse", "better"]
    first, _, third, areas = answered
    difference = first.decision.question.difference
    assert difference.mean.value == pytest.approx(0.3, abs=0.03)
    assert difference.mean.n == PROMPTS and difference.topics == 40 and difference.seeds == (3, 3)
    assert difference.parts[0].freedom == 7  # 2 + 2 + 3
    assert third.decision.question.difference.parts[0].variance == pytest.approx(
        difference.parts[0].variance / 2
    )  # the start model has no luck
    assert areas.decision.question.difference.mean.value == pytest.approx(0.3)
    assert areas.decision.question.difference.mean.n == 1
    said = question_sentence(first)
    assert said.startswith("b against a: better, +") and "3 and 3 seeds, n = 120; p = " in said
    assert "for equivalence within 10.0 points" in said
    assert "for not worse by 10.0 points" in question_sentence(third)
    assert ", 3 seeds, n = 120" in question_sentence(third)  # the start model has none
    assert ", 3 and 3 seeds; p = " in question_sentence(areas)  # one area per run, not per prompt


def test_areas_are_compared_by_the_luck_of_seeds_alone(plan, tmp_path):
    """0.40, 0.41, 0.42 against 0.70, 0.71, 0.72, pooled with four seeds of c: s² = (2 + 2 + 5) 1e-4 / 7."""
    write(plan, tmp_path)
    found = question_of(Outcomes(plan), plan.questions[3]).difference
    assert found.seed_sd == pytest.approx((9e-4 / 7) ** 0.5)
    a, b, c = (SeedValues([{"x": m + s / 100} for s in range(n)]) for m, n in ((0.4, 3), (0.7, 3), (0.4, 4)))
    assert found.p == pytest.approx(pooled_difference(a, b, [a, b, c]).p)


def test_arms_of_the_same_seeds_may_be_paired(plan, tmp_path):
    """Areas 0.40, 0.41, 0.42 and 0.70, 0.71, 0.72: every pair differs by 0.3, so seeds add nothing."""
    write(plan, tmp_path)
    asked = plan.questions[3].model_copy(update={"paired": True, "pool": []})
    found = question_of(Outcomes(plan), asked).difference
    assert found.mean.value == pytest.approx(0.3) and found.variance == pytest.approx(0, abs=1e-12)
    assert found.seeds == (3, 3)


def test_nothing_is_decided_before_all_is_there(plan, tmp_path):
    write(plan, tmp_path, skip=[ArmRun("c", 3)])
    answered = answer_questions(Outcomes(plan))
    assert all(a.decision is None for a in answered)
    assert question_sentence(answered[0]) == (
        "b against a: not decided yet; 1 of its results is missing, B/c-seed3.jsonl.gz first."
    )


def test_an_undecided_question_names_what_would_decide_it(plan, tmp_path):
    write(plan, tmp_path)
    strict = plan.model_copy(
        update={"questions": [plan.questions[1].model_copy(update={"margin": 0.011, "title": "strict"})]}
    )
    (answered,) = answer_questions(Outcomes(strict))
    assert answered.decision.answer == "undecided"
    enough = answered.decision.enough
    if enough is not None:
        assert enough.prompts > PROMPTS and "would decide" in question_sentence(answered)
    assert question_sentence(answered).startswith("strict: undecided, ")


def test_a_metric_that_is_not_there_is_refused(plan, tmp_path):
    write(plan, tmp_path)
    other = plan.model_copy(update={"questions": [plan.questions[0].model_copy(update={"metric": "good"})]})
    with pytest.raises(UserError, match="its results have no 'good'"):
        answer_questions(Outcomes(other))


def test_no_questions_no_answers(plan):
    assert answer_questions(Outcomes(plan.model_copy(update={"questions": []}))) == []
