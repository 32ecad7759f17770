"""boresight: align small language models, and know beforehand whether the run can work.

    import boresight

    run = boresight.train("recipes/demo.yaml")
    run.metric("accuracy").difference        # value, low, high, n: paired, 95 %

The verbs of the command line, as functions: `train`, `check`, `evaluate`, `report`, `synthesize`, `compare`
and `explain`. Nothing heavy is imported here: torch and transformers load when a verb that needs them runs.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import boresight.check
import boresight.evaluate
import boresight.report
import boresight.train  # noqa: F401
from boresight import api
from boresight.api import compare, explain, synthesize
from boresight.errors import UserError

if TYPE_CHECKING:
    from boresight.api import check, evaluate, report, train

__version__ = "0.1.0"
__all__ = ["UserError", "check", "compare", "evaluate", "explain", "report", "synthesize", "train"]


class _VerbPackage(ModuleType):
    """A package that has the name of a verb, and does what the verb says when it is called.

    A function of that name would hide the package: `import boresight.train.loop as loop` would fail.
    """

    def __call__(self, *args: Any, **sections: Any) -> Any:
        return getattr(api, self.__name__.removeprefix("boresight."))(*args, **sections)


for _name in ("check", "evaluate", "report", "train"):
    _package, _verb = sys.modules[f"boresight.{_name}"], getattr(api, _name)
    _package.__class__ = _VerbPackage
    _package.__doc__, _package.__signature__ = _verb.__doc__, inspect.signature(_verb)  # type: ignore[attr-defined]
