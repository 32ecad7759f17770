"""What the first lines of a run state about its evaluation."""

import pytest

from boresight.config.recipe import Recipe
from boresight.training.policy import held_out_in_words


@pytest.mark.parametrize(
    ("overrides", "rows", "prompts", "words"),
    [
        ([], 8, 8, "8 held out"),  # the prompts are those of the rows
        ([], 0, 0, "0 held out"),
        (["evaluate.prompts=p.jsonl"], 8, 120, "8 held out and 32 evaluation prompts"),
        (["evaluate.prompts=p.jsonl", "evaluate.samples=50"], 0, 120, "50 evaluation prompts"),
        (["evaluate.prompts=p.jsonl", "reward=[{function: length}]"], 0, 120, "120 evaluation prompts"),
        (
            ["evaluate.prompts=p.jsonl", "reward=[{function: length}]", "evaluate.rewarded=0"],
            0,
            1,
            "1 evaluation prompt",
        ),
        (["evaluate.prompts=p.jsonl", "evaluate.samples=0", "check.probes=0"], 0, 9, "0 held out"),
    ],
)
def test_held_out_rows_and_the_prompts_of_evaluate_prompts(overrides, rows, prompts, words):
    """Up to 32 prompts are answered by check.probes, 200 where a reward is measured."""
    raw = {"method": {"name": "sft"}, "data": {"train": "-"}, "optim": {"lr": 1e-5}}
    assert held_out_in_words(Recipe.parse(raw).changed(overrides), rows, prompts) == words
