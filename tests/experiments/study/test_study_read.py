"""What finished runs have measured, as a study reads it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boresight.config.recipe import Recipe
from boresight.core.files import write_json
from boresight.data.reading.sources.generated import read_generated
from boresight.experiments.study.plan import ArmRun, StudyPlan
from boresight.experiments.study.read import PromptsByRow, read_study
from boresight.experiments.study.results import compared
from boresight.experiments.study.storage import ArmOutcome, Study

PLAN = Path(__file__).parents[3] / "recipes" / "study" / "plan-cpu.yaml"


def test_problems_are_the_same_to_an_arm_with_held_out_rows_and_to_one_without(tmp_path):
    """SFT of Countdown has held-out demonstrations, RLOO has none; both solve the same problems.

    Of four problems, RLOO solves the two that SFT does and one more: 0.25.
    """
    study = Study(StudyPlan.load(PLAN), PLAN.parent, tmp_path)
    problems = [p.id for p in read_generated("generate:countdown-tiny-held-out").examples[:4]]
    for arm, solved in (("countdown-sft", [1, 1, 0, 0]), ("countdown-rloo", [1, 1, 1, 0])):
        run = ArmRun(arm, 0)
        rewards = dict(zip(problems, map(float, solved), strict=True))
        study.run_folder(run).mkdir(parents=True)
        write_json(
            study.run_folder(run) / "end.json", {"numbers": {"reward": rewards, "nll_per_token": rewards}}
        )
        study.close(run, ArmOutcome(seconds=1.0))
    measured = read_study(study).measured
    (line,) = compared(measured, [c for c in study.plan.comparisons if "RLOO" in c.title])
    assert line.difference is not None and line.difference.mean.value == pytest.approx(0.25)
    # What is measured on rows is by the prompt's text, since several rows may share one.
    assert not set(measured["countdown-sft"]["nll"][0]) & set(problems)


def test_prompts_are_found_by_the_ids_that_runs_give_to_rows(tmp_path):
    """Three rows called x: a run numbers them x, x#2 and x#3; the first and the last share a prompt."""
    asked = ("tea", "rain", "tea")
    rows = [
        {"id": "x", "prompt": f"About {t}.", "chosen": f"a{n}", "rejected": "b"} for n, t in enumerate(asked)
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = {"method": {"name": "dpo"}, "model": {"name": "starter"}, "optim": {"lr": 1e-5}}
    raw["data"] = {"train": str(file), "eval": str(file), "eval_rows": 3}
    found = PromptsByRow().of(Recipe.parse(raw))
    assert set(found) == {"x", "x#2", "x#3"}
    assert found["x"] == found["x#3"] != found["x#2"]
