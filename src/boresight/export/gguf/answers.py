"""Answer the run's evaluation prompts with the model in a GGUF file, and check the answers.

The results of the checks are compared with those of the answers stored in the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from boresight.config.recipe import Recipe
from boresight.core.errors import UserError
from boresight.core.schema import Prompt
from boresight.data.reading.same_prompt import prompt_key
from boresight.data.stop_tokens import wire_stop_tokens
from boresight.data.tokenizer import Tokenizer
from boresight.models.policy import Policy
from boresight.reports.read_run import read_run
from boresight.stats.paired import Measured, duplicate_prompts
from boresight.tasks.constraints import evaluation
from boresight.training.probes.answers import answer_all, prompts_to_answer


def checked_prompts(run: Path, most: int) -> list[tuple[Prompt, str]]:
    """Return up to `most` evaluation prompts with checkable constraints, and the trained model's answers.

    Raises:
        UserError: the run has no such prompts, or they cannot be read on this machine.
    """
    recipe = Recipe.of_run(run / "config.yaml")
    known = {sample.id: sample.answers[-1] for sample in read_run(run).samples}
    prompts = prompts_to_answer(recipe, []) if recipe.evaluate.prompts else []
    found = [
        (prompt, answer)
        for prompt in prompts
        if (answer := known.get(prompt.id)) is not None and evaluation.checkable(prompt.meta)
    ]
    if not found:
        raise UserError(f"--answers: {run} has no answers to prompts with checks; leave --answers out.")
    return found[:most]


def answer_checks(
    model: Policy, tokenizer: Tokenizer, asked: Sequence[tuple[Prompt, str]], run: Path, console: Console
) -> tuple[Measured, ...]:
    """Run every check on the run's stored answers (before) and on answers of `model` (after).

    The results are paired by prompt.

    Args:
        asked: prompts, each with the run's stored answer.
    """
    wire_stop_tokens(model, tokenizer)
    prompts = [prompt for prompt, _ in asked]
    settings = Recipe.of_run(run / "config.yaml").evaluate
    answered = answer_all(model, tokenizer, prompts, settings, console)
    return tuple(
        evaluation.compare_constraints(
            [prompt.id for prompt in prompts],
            [prompt.meta for prompt in prompts],
            [answer for _, answer in asked],
            [answer.text for answer in answered],
            duplicate_prompts([prompt.id for prompt in prompts], map(prompt_key, prompts)),
        )
    )
