"""Files in the folder of an evaluation.

config.yaml             the resolved recipe; locked by the process that evaluates
ledger.sqlite           paid answers of systems behind endpoints
environment.json        versions, machine, commit
answers-SYSTEM.jsonl    generated answers, which a continued evaluation reads instead of generating them again
answers-SYSTEM.sha256   its hash
answers-SYSTEM.model    digest of the files of the model that generated them
problems-SYSTEM.jsonl   graded completions of Countdown problems, of earlier versions; still read
comparisons.jsonl       one line per prompt and pair of systems
completions-SYSTEM.jsonl  by a reward: one line per completion, with its grades
documents-SYSTEM.jsonl  of tasks: one line per document and filter, with its scores, and hash and model beside
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
    """Paths and contents of an evaluation's folder. A context manager: the lock that `open` takes is released
    on exit, and an evaluation that Ctrl-C or an endpoint stops ends with the command that continues it. By
    default the folder's name has the time in it, so that the same command would begin, and pay, anew.

    JSON has no infinity and no NaN: unknown limits are null.
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
        """As `RunFolder.refuse_other`, but budgets may differ, so that a spent one can be raised."""
        self._refuse_differences("recipe", _without_budgets(self.recipe() or {}), _without_budgets(recipe))

    def open(self, recipe: Mapping[str, Any]) -> None:
        """As `RunFolder.open`; a second process is refused before it changes anything."""
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
        """How another recipe reads the answers that are here; '' if there are none."""
        names = (self.recipe() or {}).get("systems", {})
        found = next((name for name in names if self.answers(name).exists()), None)
        if found is None:
            return ""
        return f"in another recipe, `{found}: {{answers: {self.answers(found)}}}` reads the answers"

    def answers(self, system: str) -> Path:
        """File with the answers of a system."""
        return self.path / f"answers-{_file_name(system)}.jsonl"

    def problems(self, system: str) -> Path:
        """File with the graded completions of a system that an earlier version wrote."""
        return self.path / f"problems-{_file_name(system)}.jsonl"

    def documents(self, system: str) -> Path:
        """File with the documents of tasks, as a system answered them."""
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
    """The name, with percent signs for what a file name may not have: two systems never share a file."""
    return "".join(
        c if c.isalnum() or c in "-_." else quote(c, safe="", errors="surrogatepass") for c in system
    )


def _without_budgets(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without its own budget and the judge's."""
    kept = {key: value for key, value in recipe.items() if key != "budget"}
    if isinstance(judge := kept.get("judge"), Mapping):
        kept["judge"] = {key: value for key, value in judge.items() if key != "budget"}
    return kept


def _finite(value: Any) -> Any:
    """The value with None for infinity and NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value
