"""Run tasks of lm-evaluation-harness (Gao et al., github.com/EleutherAI/lm-evaluation-harness) on a model.

The model is loaded here, adapters included, and handed over; the harness builds prompts, requests answers and
grades them. It is imported when tasks are run. A folder of tasks of one's own may name Python functions
(`!function`, `class`), which run with the rights of the user: it is the user's own code. Code that comes with
a data set or a model is refused, and so are tasks that the harness marks as unsafe, which run what the model
writes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from boresight.core.did_you_mean import nearest
from boresight.core.errors import UserError, memory_error, named_first_line
from boresight.data.tokenizer import Tokenizer
from boresight.evaluation.harness.documents import Document, documents_of
from boresight.evaluation.recipe import HarnessSection
from boresight.models.policy import Policy

REMOTE_CODE = re.compile(
    r"(^|[{,])[^\S\n]*[\"']?trust_remote_code[\"']?\s*:\s*(?!(false|no|off|null|~)\b)\S", re.I | re.M
)
"""In a task file: the key that asks for code of the data set to be run, with a value that enables it."""


def run_tasks(
    model: Policy, tokenizer: Tokenizer, section: HarnessSection, tasks: Any, limit: int | None = None
) -> list[Document]:
    """Every document of the section's tasks, as the model answered it, with its scores.

    Args:
        tasks: what `open_tasks` returned for the section.
        limit: number of documents of each task, from the first; None for all.

    Raises:
        UserError: a task cannot be run.
    """
    harness = import_harness()
    from lm_eval.models.huggingface import HFLM

    with _one_sentence(section):
        language_model = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=section.batch_size)
        results = harness.simple_evaluate(
            model=language_model,
            tasks=list(section.tasks),
            task_manager=tasks,
            num_fewshot=section.num_fewshot,
            limit=limit,
            apply_chat_template=section.chat_template,
            bootstrap_iters=0,  # intervals are computed here
            log_samples=True,
            confirm_run_unsafe_code=False,
        )
    return documents_of(results)


def import_harness() -> ModuleType:
    """The package `lm_eval`. Raises `UserError` where it is not installed."""
    try:
        import lm_eval
        import lm_eval.tasks
    except ImportError as error:
        raise UserError(
            f"lm_eval: running its tasks needs a package ({error}); run `pip install 'boresight[lm-eval]'`."
        ) from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    module: ModuleType = lm_eval
    return module


def open_tasks(section: HarnessSection) -> Any:
    """The harness's task manager, with the tasks of the section's folder.

    Raises:
        UserError: no such folder or task, or a task file that wants code of its data set to be run.
    """
    import_harness()
    from lm_eval.tasks import TaskManager

    if section.folder is not None:
        _refuse_remote_code(Path(section.folder))
    with _one_sentence(section):
        manager = TaskManager(include_path=section.folder)
        known = list(manager.all_tasks)
    for task in section.tasks:
        if task not in known:
            raise UserError(f"lm_eval.tasks: the harness has no task {task!r}{nearest(task, known)}.")
    return manager


def task_files(folder: Path) -> list[Path]:
    """The YAML files of a folder of tasks. Raises `UserError` where there are none."""
    files = (
        sorted(file for end in ("*.yaml", "*.yml") for file in folder.rglob(end)) if folder.is_dir() else []
    )
    if not files:
        raise UserError(f"lm_eval.folder: {folder} holds no task; name a folder with a YAML file per task.")
    return files


def _refuse_remote_code(folder: Path) -> None:
    for file in task_files(folder):
        text = file.read_text(encoding="utf-8", errors="replace")
        if REMOTE_CODE.search(text):
            raise UserError(
                f"{file}: trust_remote_code runs code that comes with a data set, which is refused; remove "
                "the line, and save the data as a file where it cannot be read without."
            )


@contextmanager
def _one_sentence(section: HarnessSection) -> Iterator[None]:
    """Convert the harness's errors into one sentence: tasks are files of users, and data are downloads."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if memory_error(error):
            raise
        named = ", ".join(section.tasks)
        raise UserError(
            f"lm_eval: the tasks {named} cannot be run ({named_first_line(error)}); correct the task, or "
            "leave it out.",
            of_own_code=True,
        ) from error
