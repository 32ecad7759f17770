"""Which models the guard keeps over several evaluations, and what its finding says about the others."""

import pytest

from boresight.config.guard import GuardSection
from boresight.training.guard.guard import Guard
from boresight.training.guard.kept import kept_models

INSIDE, UNCLEAR, BEYOND = (0.0, 0.01), (0.0, 0.5), (0.5, 0.51)
"""KL values of two rows: within the bound of 0.15, beyond it by less than their interval, and by more."""


@pytest.fixture
def guard(tmp_path):
    return Guard(tmp_path, GuardSection(), {}, lambda folder: folder.mkdir())


def look(guard, progress, step, values):
    progress["step"] = step
    return guard.look(progress, {"kl_per_token": dict(zip("ab", values, strict=True))})


def test_a_stop_says_why_an_earlier_model_is_not_kept(guard):
    """The reason is part of the progress, which checkpoints store, so that a resumed run has it."""
    guard.begin(0)
    progress = {}
    assert look(guard, progress, 3, INSIDE) is None and set(progress) == {"step"}
    assert look(guard, progress, 5, UNCLEAR) is None
    found = look(guard, dict(progress), 10, BEYOND)
    said = found.why.split(" The run ends with ")[1]
    assert said.startswith(
        "the model of step 3. The model of step 5 is not kept: KL to the start model on held-out answers: "
        "0.25 nats per token ["
    )
    assert said.endswith(" of 2, more than 0.15 nats per token (train.guard.kl).")
    assert look(guard, {}, 10, BEYOND).why.endswith("The run ends with the model of step 3.")  # unknown


def test_a_model_that_is_kept_later_leaves_nothing_to_explain(guard):
    guard.begin(0)
    progress = {}
    look(guard, progress, 5, UNCLEAR)
    look(guard, progress, 7, INSIDE)
    assert look(guard, progress, 10, BEYOND).why.endswith("The run ends with the model of step 7.")
    assert [folder.name for folder in kept_models(guard.run)] == ["within-bounds-7"]
