"""The best checkpoint stays beside the newest, over an interruption too."""

import json

import pytest

from boresight.core.errors import UserError
from boresight.training.checkpoints import best
from boresight.training.loop import run_steps
from tests.checks import builders as b
from tests.training.fixtures import make_task

FALLING_APART = ("train.batch=4", "train.steps=6", "train.eval_every=1", "optim.lr=0.3", "train.save_every=1")


def steps(folder):
    return sorted(int(p.name[5:]) for p in (folder / "checkpoints").iterdir())


def held_out(folder, name):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if line["split"] == "eval"}


def test_the_best_by_hand():
    """Loss falls, rises, ties: steps 1 and 2 are the best of their time, 3 and 4 are not."""
    recipe, done, kept = b.recipe("sft", "train.keep_best=loss"), {}, []
    for step, loss in enumerate([0.9, 0.7, 0.8, 0.7, float("nan")], start=1):
        done |= {"step": step}
        done |= best.found(recipe, {"loss": loss}, done)
        kept.append(done["best_step"])
    assert kept == [1, 2, 2, 2, 2]
    recipe = b.recipe("dpo", "train.keep_best=accuracy")
    assert best.found(recipe, {"accuracy": 0.6}, {"step": 3, "best": 0.5}) == {"best_step": 3, "best": 0.6}
    assert best.found(recipe, {"accuracy": 0.4}, {"step": 3, "best": 0.5}) == {}


def test_a_step_between_two_updates_on_a_rollout_is_never_the_best():
    """Two updates a rollout: only steps 2 and 4 have checkpoints, so the better 1 and 3 do not count."""
    recipe = b.recipe("rloo", "train.keep_best=reward", "rollout.updates=2", "method.clip=0.2")
    done = {}
    for step, value in enumerate([0.9, 0.5, 0.8, 0.6], start=1):
        done |= {"step": step}
        done |= best.found(recipe, {"reward": value}, done)
    assert (done["best_step"], done["best"]) == (4, 0.6)


def test_the_best_checkpoint_stays_beside_the_newest_and_over_a_resumption(tmp_path):
    settings = (*FALLING_APART, "train.keep_best=loss", "train.keep=1")
    task = make_task(tmp_path, "sft", *settings)
    run_steps(task)
    losses = held_out(tmp_path, "loss")
    lowest = min(losses, key=losses.get)
    assert 0 < lowest < 6 and steps(tmp_path) == [lowest, 6]
    saved = json.loads((tmp_path / f"checkpoints/step-{lowest}/state.json").read_text())
    assert saved["best_step"] == lowest and saved["best"] == pytest.approx(losses[lowest], rel=1e-5)
    other = tmp_path / "other"
    run_steps(make_task(other, "sft", *settings), tmp_path / f"checkpoints/step-{lowest}")
    assert 6 in steps(other)
    assert json.loads((other / "checkpoints/step-6/state.json").read_text())["best_step"] == lowest


def test_a_number_that_is_not_measured_is_refused():
    with pytest.raises(UserError, match="no held-out accuracy; it measures loss, nll_per_token"):
        best.refuse_unmeasured(
            b.recipe("sft", "train.keep_best=accuracy"), {"loss": 1.0, "nll_per_token": 1.0}
        )
