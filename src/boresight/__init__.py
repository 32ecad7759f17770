"""boresight: align small language models, and check beforehand whether the run can work.

    import boresight

    run = boresight.train("demo")
    run.metric("accuracy").difference        # value, low, high, n: paired, 95 %

The verbs of the command line, as functions: `train`, `check`, `evaluate`, `report`, `synthesize`, `compare`
and `explain`. Nothing heavy is imported here: torch and transformers load when a verb that needs them runs.
"""

from __future__ import annotations

import warnings

from boresight.api import check, compare, evaluate, explain, report, synthesize, train
from boresight.core.errors import UserError
from boresight.core.version import VERSION

# tqdm warns in notebooks without ipywidgets, of bars that are switched off here.
warnings.filterwarnings("ignore", "IProgress not found")

__version__ = VERSION
__all__ = ["UserError", "check", "compare", "evaluate", "explain", "report", "synthesize", "train"]
