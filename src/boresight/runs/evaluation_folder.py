"""Files in the folder of an evaluation.

config.yaml             the resolved recipe; locked by the process that evaluates
ledger.sqlite           paid answers of systems behind endpoints
environment.json        versions, machine, commit
answers-SYSTEM.jsonl    generated answers, which a continued evaluation reads instead of generating them again
answers-SYSTEM.sha256   SHA-256 of that file
answers-SYSTEM.model    digest of the files of the model that generated them
problems-SYSTEM.jsonl   graded completions of Countdown problems, as earlier versions wrote them; still read
comparisons.jsonl       one line per prompt and pair of systems
completions-SYSTEM.jsonl  evaluation by a reward: one line per completion, with its grades
documents-SYSTEM.jsonl  evaluation on tasks: one line per document and filter, with its scores;
                        documents-SYSTEM.sha256 and .model as for answers
evaluation.json         metrics
report.html             the page
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from boresight.core.files import write_jsonl, write_state
from boresight.core.interrupt import Interrupted
from boresight.evaluation.recipe import EvaluationRecipe
from boresight.llm.replies.failures import Stopped
from boresight.runs.folder import LockedFolder


class EvaluationFolder(LockedFolder):
    """The folder of an evaluation: paths of its files, and methods that write them.

    As a context manager, it releases the lock that `open` takes. If Ctrl-C or an endpoint stops the
    evaluation, the error that is raised contains the command that continues it. That command names this
    folder: the default name contains the time, so repeating the original command would start, and pay for, a
    new evaluation.

    Infinity and NaN, such as unknown limits, are written as null, because JSON has neither.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "evaluation", "systems", EvaluationRecipe, "evaluating")
        self.report, self.ledger = path / "report.html", path / "ledger.sqlite"
        self._opened = False

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        super().__exit__(kind, error, trace)
        if not self._opened:
            return
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"interrupted; {self._way_on()}.") from None
        if isinstance(error, Stopped) and (how := self._kept() if error.other_recipe else self._way_on()):
            raise error.continued(how) from None

    def refuse_other(self, recipe: Mapping[str, Any]) -> None:
        """Raise a `UserError` if the folder was begun with another recipe; budgets are not compared.

        An exhausted budget can therefore be raised when the evaluation is continued.
        """
        self._refuse_differences("recipe", _without_budgets(self.recipe() or {}), _without_budgets(recipe))

    def open(self, recipe: Mapping[str, Any]) -> None:
        """Begin an evaluation in the folder, or continue one with the same recipe, and lock the folder.

        Raises:
            UserError: the folder holds something else or an evaluation with another recipe, or another
                process has the lock; its files are not changed.
        """
        self.refuse_foreign()
        if self.recipe() is None:
            self.begin(recipe)
        self.lock()
        super().open(recipe)
        self._opened = True

    def _way_on(self) -> str:
        command = ["boresight", "evaluate", str(self.recipe_file), "--run", str(self.path)]
        return f"`{shlex.join(command)}` continues"

    def _kept(self) -> str:
        """Return how another recipe can read the answers in this folder; '' if there are none."""
        names = (self.recipe() or {}).get("systems", {})
        found = next((name for name in names if self.answers(name).exists()), None)
        if found is None:
            return ""
        return f"in another recipe, `{found}: {{answers: {self.answers(found)}}}` reads the answers"

    def answers(self, system: str) -> Path:
        """Path of the file with the answers of a system."""
        return self.path / f"answers-{_file_name(system)}.jsonl"

    def problems(self, system: str) -> Path:
        """Path of the file with graded completions of a system, as earlier versions wrote it."""
        return self.path / f"problems-{_file_name(system)}.jsonl"

    def documents(self, system: str) -> Path:
        """Path of the file with a system's answers to the documents of tasks."""
        return self.path / f"documents-{_file_name(system)}.jsonl"

    def write_completions(self, system: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write one line per completion of a system."""
        write_jsonl(self.path / f"completions-{_file_name(system)}.jsonl", map(_finite, lines))

    def write_comparisons(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Write one line per comparison."""
        write_jsonl(self.path / "comparisons.jsonl", map(_finite, lines))

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write metrics and other results to `evaluation.json`."""
        write_state(self.path / "evaluation.json", _finite(results))


def _file_name(system: str) -> str:
    """Return the name of a system with percent-encoding of all characters that a file name may not have.

    Different names stay different, so two systems never share a file.
    """
    return "".join(
        c if c.isalnum() or c in "-_." else quote(c, safe="", errors="surrogatepass") for c in system
    )


def _without_budgets(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without its own budget and those of its judges."""
    kept = _without_budget(recipe)
    for name in ("judge", "rank_by"):
        if name in kept:
            kept[name] = _without_budget(kept[name])
    if isinstance(rewards := kept.get("reward"), list):
        kept["reward"] = [one | {"judge": _without_budget(one.get("judge"))} for one in rewards]
    return kept


def _without_budget(section: Any) -> Any:
    """A section without its own budget; what is no section as it is."""
    if not isinstance(section, Mapping):
        return section
    return {key: value for key, value in section.items() if key != "budget"}


def _finite(value: Any) -> Any:
    """Return the value with None in place of infinity and NaN, also inside lists and dictionaries."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value
