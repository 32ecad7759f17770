"""Run tasks of lm-evaluation-harness (Gao et al., github.com/EleutherAI/lm-evaluation-harness) on a model.

boresight loads the model with its adapters and passes it to the harness, which builds prompts, requests
answers and grades them. The package is imported only when tasks are run. The user's own task files may name
Python functions (`!function`, `class`), which are run. Code that comes with a data set or a model is refused.
So are tasks that the harness marks as unsafe because they run code written by the model.
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
"""Pattern of `trust_remote_code` in a task file, with a value that allows code of a data set to be run."""


def run_tasks(
    model: Policy, tokenizer: Tokenizer, section: HarnessSection, tasks: Any, limit: int | None = None
) -> list[Document]:
    """Run the tasks of a section on a model, and return every document with its answer and scores.

    Args:
        tasks: the task manager that `open_tasks` returned for the section.
        limit: maximum number of documents per task, from the first; None for all.

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
    """Import and return the package `lm_eval`. Raises `UserError` if it is not installed."""
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
    """Return the harness's task manager, which includes the tasks in the section's folder.

    Raises:
        UserError: no such folder or task, or a task file that enables `trust_remote_code`.
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
    """Return the YAML files in a folder of tasks. Raises `UserError` if there are none."""
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
    """Context manager that converts errors of the harness into a one-sentence `UserError`.

    Any error can occur, since task files come from users and data are downloaded. Out-of-memory errors are
    raised unchanged.
    """
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
