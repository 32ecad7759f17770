"""boresight: align small language models, and know beforehand whether the run can work.

    import boresight

    run = boresight.train("recipes/demo.yaml")
    run.metric("accuracy").difference        # value, low, high, n: paired, 95 %

The verbs of the command line, as functions: `train`, `check`, `evaluate`, `report`, `synthesize`, `compare`
and `explain`. Nothing heavy is imported here: torch and transformers load when a verb that needs them runs.
"""

# A package is bound to its name in its parent once, when it is first imported. Four packages have the
# name of a verb, so they are imported first, empty as they are, and the verbs keep the names from then on.
# `from boresight.train.loop import …` finds the packages as ever.
import boresight.check
import boresight.evaluate
import boresight.report
import boresight.train  # noqa: F401
from boresight.api import check, compare, evaluate, explain, report, synthesize, train
from boresight.errors import UserError

__version__ = "0.1.0"
__all__ = ["UserError", "check", "compare", "evaluate", "explain", "report", "synthesize", "train"]
