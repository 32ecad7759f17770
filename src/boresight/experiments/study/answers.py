"""Answers of the start model and of trained models to the plan's held-out prompts."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from boresight.core.schema import Prompt
from boresight.experiments.study.blocks import START
from boresight.experiments.study.storage import Study


def answer_with_start_model(study: Study, console: Console) -> None:
    """Write the start model's answers, once for all arms.

    Does nothing if the start model is an arm of the plan, if its answers exist, or without `answers` in the
    plan.
    """
    section, path = study.plan.answers, study.folder / START / "answers.jsonl"
    if section is None or path.exists() or section.start in study.plan.arms:
        return
    path.parent.mkdir(exist_ok=True)
    console.print(f"{section.start} answers first", markup=False, highlight=False)
    answer_prompts(study, section.start, path, console)


def answer_prompts(study: Study, model: str, path: Path, console: Console) -> None:
    """Write a model's answers to the held-out prompts."""
    from boresight.evaluation.recipe import GenerateSection
    from boresight.evaluation.systems import generate_answers, write_answers

    assert study.plan.answers is not None
    prompts = read_prompts_to_answer(study)
    settings = GenerateSection(max_new_tokens=study.plan.answers.max_new_tokens)
    write_answers(path, prompts, generate_answers(model, model, prompts, settings, console))


def read_prompts_to_answer(study: Study) -> list[Prompt]:
    """Read the held-out prompts of the plan, with the constraints that answers are checked by.

    Ids are made distinct. Raises `UserError` if the file cannot be read.
    """
    from boresight.data.reading.split import prompts_in
    from boresight.data.stored.digests import distinct_ids

    assert study.plan.answers is not None
    return list(distinct_ids(prompts_in(study.plan.answers.prompts)))
