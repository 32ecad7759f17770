"""Measure a trained arm of a block, or the block's start model, on the block's test prompts."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from boresight.config.reward import RewardConfig, short_names
from boresight.core.errors import UserError
from boresight.core.files import read_state
from boresight.core.schema import Prompt
from boresight.evaluation.graded.grading import GradedResponse, Grader
from boresight.experiments.engine.duplicate_prompts import same_prompts_of
from boresight.experiments.study import plan as plans
from boresight.experiments.study.blocks import AREA, MARGIN, REWARD, START, Block
from boresight.experiments.study.outcomes.chosen_rate import chosen_numbers
from boresight.experiments.study.outcomes.file import (
    OutcomeFile,
    PromptResult,
    outcome_path,
    write_outcome_file,
)
from boresight.experiments.study.outcomes.label_use import (
    CALLS,
    area_under,
    held_out_by_calls,
    held_out_parts,
    informative_prompts,
    seconds_of_steps,
    trained_tokens,
    training_rows,
)
from boresight.experiments.study.outcomes.samples import ShownAnswer, shown_answers
from boresight.experiments.study.outcomes.settings import outcome_settings, start_settings
from boresight.experiments.study.plan import ArmRun
from boresight.experiments.study.storage import Study
from boresight.reports.read_run import RunData, read_run
from boresight.runs.training_folder import TrainingFolder

ACCURACY = "accuracy"
"""Key among the numbers of a run: whether a held-out pair is ranked right."""


def measure_arm(study: Study, run: ArmRun, seconds: float, console: Console) -> None:
    """Measure a trained arm of a block and write its file of results, unless the file exists.

    Raises:
        UserError: a prompt lacks what a reward needs, or the run's log is incomplete.
    """
    path, block = study.outcome_file(run), study.block_of(run)
    if path is None or block is None or path.exists():
        return
    recipe, folder = study.recipe(run), study.run_folder(run)
    log = read_run(folder)
    curve = held_out_by_calls(log) if any(CALLS in line for line in log.train) else []
    arm = study.plan.arms[run.arm]
    # With `rewarded_by`, a reward model trains the arm: calls of the verifier only measure it.
    calls = arm.verifier_calls + (_calls(log) if arm.rewarded_by is None else 0)
    numbers = {"seconds": max(seconds, seconds_of_steps(log)), CALLS: float(calls)}
    if len(curve) > 1:
        numbers[AREA] = area_under(curve)
    informative = informative_prompts(log, recipe.rollout.k)
    measured = {
        "informative_prompts": informative,
        "training_rows": training_rows(log),
        "trained_tokens": trained_tokens(log),
    }
    numbers |= {name: value for name, value in measured.items() if value is not None}
    numbers |= chosen_numbers(recipe, folder, len(log.train))
    results, answers = _results(study, block, str(folder), TrainingFolder(folder).end, console)
    settings = outcome_settings(study.plan, study.here, run)
    parts = held_out_parts(log)
    write_outcome_file(
        path,
        OutcomeFile(run.arm, run.seed, settings, numbers, curve, log.environment, results, answers, parts),
    )


def measure_start_model(study: Study, run: ArmRun, console: Console) -> None:
    """Measure the start model of an arm's block and write its file of results.

    Does nothing if the file exists or the arm has no block.
    """
    name, block = study.plan.arms[run.arm].block, study.block_of(run)
    if name is None or block is None:
        return
    path = outcome_path(Path(str(study.plan.outcomes)), name, None)
    if path.exists():
        return
    start = study.start_of_block(block)
    model = str(study.run_folder(start)) if start else block.start
    before = TrainingFolder(study.run_folder(run)).start
    results, answers = _results(study, block, model, before, console)
    settings = start_settings(study.plan, study.here, name)
    write_outcome_file(path, OutcomeFile(START, None, settings, {"seconds": 0.0}, [], {}, results, answers))


def _results(
    study: Study, block: Block, model: str, numbers: Path, console: Console
) -> tuple[list[PromptResult], list[ShownAnswer]]:
    """Return the results of a model on the prompts or pairs of a block, and some of its answers.

    For pairs, the results are read from `numbers`, the file with the held-out numbers of a run.
    """
    if block.pairs is not None:
        return ranked_pairs(numbers), []
    return measure_model(model, judged_block(study, block), console)


def ranked_pairs(path: Path) -> list[PromptResult]:
    """Read from a file of held-out numbers whether each pair is ranked right, and its margin.

    If the run stores which pairs share a prompt, the prompt is their topic, since such pairs are not
    independent.

    Raises:
        UserError: the file is torn, or the method of the run ranks no pairs.
    """
    numbers = read_state(path, types={"numbers": dict})["numbers"]
    if not {ACCURACY, MARGIN} <= numbers.keys():
        raise UserError(
            f"{path}: no pair is ranked there; a block of pairs takes methods that learn from pairs."
        )
    margins, found = numbers[MARGIN], same_prompts_of(path.parent)
    same = found.rows if found else {}
    return [
        PromptResult(id_, same.get(id_, id_) if same else None, {REWARD: [right], MARGIN: [margins[id_]]})
        for id_, right in numbers[ACCURACY].items()
    ]


def judged_block(study: Study, block: Block) -> Block:
    """Return the block with its judge, if it has one, added to the rewards with weight 0."""
    judge = plans.block_judge_run(study.plan, block)
    if judge is None:
        return block
    scored = RewardConfig.model_validate(plans.judged_by(str(study.run_folder(judge)), weight=0.0))
    return block.model_copy(update={"reward": [*block.reward, scored]})


def measure_model(model: str, block: Block, console: Console) -> tuple[list[PromptResult], list[ShownAnswer]]:
    """Sample answers of a model to the test prompts of a block; return their rewards, and some of them."""
    from boresight.evaluation.recipe import GenerateSection
    from boresight.evaluation.systems import generate_responses

    prompts = read_test_prompts(block)
    settings = GenerateSection(
        max_new_tokens=block.max_new_tokens, temperature=block.temperature, seed=block.seed
    )
    found = generate_responses(model, model, prompts, settings, block.samples, console)
    graded = Grader(block.reward).grade(model, prompts, found)
    results = [
        PromptResult(prompt.id, _topic(prompt, block), _rewards(samples, block))
        for prompt, samples in zip(prompts, graded.by_prompt, strict=True)
    ]
    return results, shown_answers(prompts, found)


def read_test_prompts(block: Block) -> list[Prompt]:
    """Read the test prompts of a block; ids are made distinct. Raises `UserError` if they cannot be read."""
    from boresight.data.reading.split import prompts_in
    from boresight.data.stored.digests import distinct_ids

    return list(distinct_ids(prompts_in(str(block.prompts))[: block.limit]))


def _rewards(samples: tuple[GradedResponse, ...], block: Block) -> dict[str, list[float | None]]:
    names = [config.name for config in block.reward]
    parts = {
        short: [graded.rewards.get(name) for graded in samples]
        for name, short in zip(names, short_names(names), strict=True)
    }
    return parts | {REWARD: [graded.reward for graded in samples]}


def _topic(prompt: Prompt, block: Block) -> str | None:
    topic = prompt.meta.get(block.topic) if block.topic is not None else None
    return None if topic is None else str(topic)


def _calls(log: RunData) -> int:
    """Return the number of verifier calls of a whole run, 0 for methods that make none."""
    return max((int(line.get(CALLS) or 0) for line in log.train), default=0)
